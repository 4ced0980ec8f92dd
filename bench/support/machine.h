#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace spillway::bench {

/// SPILLWAY_BENCH_TINY=1: the smallest sizes, to see that a benchmark still runs. Its figures mean
/// nothing.
bool tiny();

/// Processor, how many of them, memory, kernel, compiler.
std::string machine_line();
/// What a folder lies on: "xfs on /dev/zram1, rw,noatime".
std::string place_line(const std::filesystem::path& folder);
/// What makes figures of this run doubtful: a debug build, sanitizers, a clock that changes, a busy
/// machine. Empty when there is nothing.
std::vector<std::string> doubts();

/// Processor time of this process so far, all threads; or of its children that have ended. [s]
double own_cpu_seconds();
double children_cpu_seconds();

}  // namespace spillway::bench
