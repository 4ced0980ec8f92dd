#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/block_device.h"

namespace spillway::tool {

/// One directory that is measured, and what it lies on.
struct Place {
  std::string path;  ///< absolute, without links
  Mount mount = {};  ///< fields empty: unknown
  std::optional<BlockDevice> device = {};
};

/// Where a bench ran: without it a figure means nothing.
struct MachineReport {
  std::string processor, kernel, libc, compiler, build, version;
  std::string fio;         ///< empty: none
  std::string huge_pages;  ///< transparent ones: always, madvise, never
  std::string governor;    ///< of the processors' clock; empty: not told
  int processors = 0;      ///< that this process may use
  int numa_nodes = 1;
  std::int64_t memory_bytes = 0, available_bytes = 0;
  double load = 0;          ///< of the last minute, what we did in it included
  double busy = 0;          ///< [processors] that others kept busy while we looked, and did nothing
  double io_pressure = -1;  ///< [%] of that time in which somebody waited for I/O; -1: unknown
  bool debug_build = false, sanitized = false;
  std::vector<Place> places;
};

/// Looks at /proc and /sys; what they do not tell is empty, or "?". Takes a third of a second, to
/// see what others do meanwhile.
MachineReport look_at_machine(const std::vector<std::filesystem::path>& directories);

/// What makes figures of such a machine doubtful, one sentence each. `file_bytes`: of the files
/// that are read and written; 0: none of that kind.
std::vector<std::string> warnings_of(const MachineReport& machine, std::int64_t file_bytes);

/// Before anything else, on standard error: a run may be long.
void say(const std::vector<std::string>& warnings);

nlohmann::ordered_json to_json(const MachineReport& machine);
/// The same in a few lines, for people; without the warnings.
std::string to_text(const MachineReport& machine);

}  // namespace spillway::tool
