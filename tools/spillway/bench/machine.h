#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace spillway::tool {

/// Where a bench ran: without it a figure means nothing.
struct Machine {
  std::string processor;
  int processors = 0;             ///< that this process may use
  std::int64_t memory_bytes = 0;  ///< of the machine
  std::string kernel;
  std::string path;                                      ///< the directory that was measured
  std::string file_system, mount_source, mount_options;  ///< that it lies on
  std::vector<std::string> doubts;                       ///< what makes the figures doubtful
};

/// Looks at /proc; what it does not tell is "?".
Machine look_at_machine(const std::filesystem::path& directory);
nlohmann::ordered_json machine_json(const Machine& machine);
/// The same in a line or two, for people.
std::string machine_text(const Machine& machine);

}  // namespace spillway::tool
