#pragma once

#include <cstdint>
#include <string_view>

namespace spillway::tool {

/// [bytes] of a "Name:  123 kB" line of a file under /proc, or -1 where there is none.
std::int64_t proc_bytes(const char* file, std::string_view name);

/// [bytes] The most that this process has had in memory so far.
inline std::int64_t peak_rss_bytes() { return proc_bytes("/proc/self/status", "VmHWM"); }

/// [bytes] What a process may still take: MemAvailable, or what its cgroups leave, if that is less.
std::int64_t available_memory_bytes();

/// Processors that this process may run on.
int usable_processors();

}  // namespace spillway::tool
