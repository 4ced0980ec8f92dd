#pragma once

#include <chrono>

namespace spillway {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

inline double seconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

/// A deadline `seconds` from now, far but not overflowing for huge or infinite values.
inline TimePoint deadline_in(double seconds) {
  const double bounded = seconds < 0 ? 0 : (seconds < 1e8 ? seconds : 1e8);
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(bounded));
}

}  // namespace spillway
