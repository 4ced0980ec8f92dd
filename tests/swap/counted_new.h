#pragma once

#include <cstdint>

namespace spillway::test {

/// Calls of operator new so far, by all threads of this binary.
std::int64_t allocations();
/// Blocks that operator new gave out and that were not given back.
std::int64_t live_blocks();
/// From now on operator new fails on the calling thread; false: it works again.
void refuse_memory(bool refuse);

}  // namespace spillway::test
