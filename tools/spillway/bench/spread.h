#pragma once

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <vector>

namespace spillway::tool {

/// What several rounds gave: the median with a 95 % interval from order statistics, which assumes
/// nothing about the distribution, and the range. With less than six values there is no such
/// interval; low and high are then the range.
struct Spread {
  double median = 0, low = 0, high = 0, min = 0, max = 0;
};
inline constexpr std::size_t least_values = 6;

/// How many of `n` sorted values lie outside the interval on each side: the true median lies below
/// x(j + 1), or above x(n - j), only if at most j of n fair coins show heads. Worked example: for
/// n = 21, j = 5 has a chance of 1.3 % on each side and j = 6 one of 3.9 %, so the interval is
/// x(6) to x(16).
inline std::size_t values_outside(std::size_t n) {
  double exactly = std::pow(0.5, static_cast<double>(n));  // the chance of i heads
  double at_most = 0;
  for (std::size_t i = 0; i <= n / 2; ++i) {
    at_most += exactly;
    if (at_most > 0.025) return i == 0 ? 0 : i - 1;
    exactly *= static_cast<double>(n - i) / static_cast<double>(i + 1);
  }
  return 0;
}

/// Requires at least one value.
inline Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size(), half = n / 2, outside = values_outside(n);
  return {.median = n % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2,
          .low = values[outside],
          .high = values[n - 1 - outside],
          .min = values.front(),
          .max = values.back()};
}

inline nlohmann::ordered_json to_json(const std::optional<Spread>& spread) {
  if (!spread) return nullptr;
  return {{"median", spread->median},
          {"low", spread->low},
          {"high", spread->high},
          {"min", spread->min},
          {"max", spread->max}};
}

}  // namespace spillway::tool
