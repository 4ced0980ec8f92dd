#pragma once

#include <utility>
#include <vector>

#include "bench/spread.h"

namespace spillway::bench {

/// A median with its 95 % interval: tool::Spread.
using MedianInterval = tool::Spread;
using tool::least_values;

/// Requires at least one value.
inline MedianInterval median_interval(std::vector<double> values) {
  return tool::spread_of(std::move(values));
}

}  // namespace spillway::bench
