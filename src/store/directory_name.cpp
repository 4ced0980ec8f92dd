#include "store/directory_name.h"

#include <fmt/core.h>

#include <charconv>
#include <random>

#include "sys/process.h"

namespace spillway::store {
namespace {

constexpr std::string_view prefix = "spillway-";
constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::size_t host_length = 16;
constexpr std::size_t random_length = 6;

bool all_of(std::string_view text, std::string_view allowed) {
  return text.find_first_not_of(allowed) == std::string_view::npos;
}

}  // namespace

std::string DirectoryName::text() const {
  return fmt::format("{}{}-{}-{}", prefix, host, pid, random);
}

std::optional<DirectoryName> DirectoryName::parse(std::string_view text) {
  if (!text.starts_with(prefix)) return std::nullopt;
  std::string_view rest = text.substr(prefix.size());
  if (rest.size() < host_length + random_length + 3) return std::nullopt;

  DirectoryName name;
  name.host = rest.substr(0, host_length);
  name.random = rest.substr(rest.size() - random_length);
  rest = rest.substr(host_length, rest.size() - host_length - random_length);
  if (!all_of(name.host, hex_digits) || !all_of(name.random, alphabet)) return std::nullopt;
  if (!rest.starts_with('-') || !rest.ends_with('-')) return std::nullopt;
  rest = rest.substr(1, rest.size() - 2);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), name.pid);
  if (error != std::errc{} || end != rest.data() + rest.size() || name.pid <= 0) {
    return std::nullopt;
  }
  if (name.text() != text) return std::nullopt;  // "007" and its kind
  return name;
}

DirectoryName DirectoryName::make(const std::string& host) {
  DirectoryName name;
  name.host = host;
  name.pid = sys::process_id();
  std::random_device device;
  for (std::size_t i = 0; i < random_length; ++i) {
    name.random += alphabet[device() % alphabet.size()];
  }
  return name;
}

}  // namespace spillway::store
