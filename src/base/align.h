#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>

namespace spillway {

inline constexpr std::int64_t KiB = 1024;
inline constexpr std::int64_t MiB = 1024 * KiB;
inline constexpr std::int64_t GiB = 1024 * MiB;

/// Direct I/O, sections and slots all keep at least to this. [bytes]
inline constexpr std::int64_t page_bytes = 4 * KiB;
inline constexpr std::int64_t huge_page_bytes = 2 * MiB;

/// The multiple of `to` (> 0, any number) at or below / at or above `value` (>= 0).
template <std::integral T>
constexpr T align_down(T value, T to) {
  return value / to * to;
}
template <std::integral T>
constexpr T align_up(T value, T to) {
  return (value + to - 1) / to * to;
}
template <std::integral T>
constexpr T divide_up(T value, T by) {
  return (value + by - 1) / by;
}

/// Nullopt where the result does not fit 64 bits.
constexpr std::optional<std::int64_t> checked_multiply(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
constexpr std::optional<std::int64_t> checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

}  // namespace spillway
