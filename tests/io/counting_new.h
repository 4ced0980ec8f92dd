#pragma once

#include <cstdint>

namespace spillway {

/// Counts calls of operator new on all threads of this binary, from `on` (which sets the count to
/// zero) to off.
void count_allocations(bool on);
std::int64_t counted_allocations();

}  // namespace spillway
