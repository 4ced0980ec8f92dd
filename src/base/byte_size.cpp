#include "base/byte_size.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <cmath>
#include <string>

namespace spillway {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t bytes;
};
constexpr std::array<Unit, 14> units{{{"", 1},
                                      {"b", 1},
                                      {"k", 1000},
                                      {"kb", 1000},
                                      {"m", 1000'000},
                                      {"mb", 1000'000},
                                      {"g", 1000'000'000},
                                      {"gb", 1000'000'000},
                                      {"t", 1000'000'000'000},
                                      {"tb", 1000'000'000'000},
                                      {"kib", std::int64_t{1} << 10},
                                      {"mib", std::int64_t{1} << 20},
                                      {"gib", std::int64_t{1} << 30},
                                      {"tib", std::int64_t{1} << 40}}};

std::optional<std::int64_t> unit_bytes(std::string_view name) {
  std::string lower;
  for (char c : name) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const Unit& unit : units)
    if (unit.name == lower) return unit.bytes;
  return std::nullopt;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string format_bytes(std::int64_t bytes) {
  static constexpr std::array<std::string_view, 5> names{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < names.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, names[unit]);
}

std::optional<std::int64_t> parse_bytes(std::string_view text) {
  // The mantissa is kept as an integer and a power of ten, so that no digit is lost to rounding.
  unsigned __int128 mantissa = 0;
  int exponent = 0, digits = 0;
  std::size_t at = 0;
  bool fraction = false;
  for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !fraction)); ++at) {
    if (text[at] == '.') {
      fraction = true;
      continue;
    }
    if (mantissa > (static_cast<unsigned __int128>(1) << 96)) return std::nullopt;
    mantissa = mantissa * 10 + static_cast<unsigned>(text[at] - '0');
    ++digits;
    if (fraction) --exponent;
  }
  if (digits == 0) return std::nullopt;
  if (at + 1 < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    std::size_t digit = at + 1;
    const bool negative = text[digit] == '-';
    if (text[digit] == '+' || text[digit] == '-') ++digit;
    if (digit >= text.size() || !is_digit(text[digit])) return std::nullopt;
    int power = 0;
    for (; digit < text.size() && is_digit(text[digit]); ++digit) {
      power = power * 10 + (text[digit] - '0');
      if (power > 1000) return std::nullopt;
    }
    exponent += negative ? -power : power;
    at = digit;
  }
  if (at < text.size() && text[at] == ' ') ++at;
  const auto unit = unit_bytes(text.substr(at));
  if (!unit) return std::nullopt;
  if (mantissa == 0) return 0;

  constexpr auto limit = static_cast<unsigned __int128>(INT64_MAX);
  for (; exponent < 0 && mantissa % 10 == 0; ++exponent) mantissa /= 10;
  unsigned __int128 bytes = mantissa;
  if (bytes > limit * 1000) return std::nullopt;
  bytes *= static_cast<unsigned __int128>(*unit);
  for (; exponent > 0; --exponent) {
    if (bytes > limit) return std::nullopt;
    bytes *= 10;
  }
  for (; exponent < 0; ++exponent) {
    if (bytes % 10 != 0) return std::nullopt;  // a fraction of a byte
    bytes /= 10;
  }
  if (bytes > limit) return std::nullopt;
  return static_cast<std::int64_t>(bytes);
}

}  // namespace spillway
