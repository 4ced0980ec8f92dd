#pragma once

#include <cstdint>

namespace spillway::test {

/// Calls of operator new so far, by all threads of this binary.
std::int64_t allocations();

}  // namespace spillway::test
