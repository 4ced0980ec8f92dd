#pragma once

#include <cstddef>
#include <cstdint>

namespace spillway::sys {
class HostMemory;
}

namespace spillway {

/// Gives every page of the range a frame, on as many threads as there are CPUs (at most 8): the
/// kernel clears pages at a few GB/s per thread, and that is nearly all the time a region takes.
/// Returns 0 or the first errno. `at` is on 2 MiB, or the range is small.
int prefault(sys::HostMemory& memory, std::byte* at, std::int64_t bytes);

}  // namespace spillway
