#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace spillway::tool {

/// What several rounds gave.
struct Spread {
  double median = 0, min = 0, max = 0;
};

/// Requires at least one value.
inline Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return {.median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2,
          .min = values.front(),
          .max = values.back()};
}

}  // namespace spillway::tool
