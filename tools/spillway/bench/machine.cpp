#include "bench/machine.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>

#include "demo_report.h"
#include "process_figures.h"

namespace spillway::tool {
namespace {

std::string processor_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "?";
}

// The mount whose point is the longest prefix of the path; of several there, the last is on top.
void find_mount(Machine& machine) {
  machine.file_system = machine.mount_source = machine.mount_options = "?";
  std::ifstream mounts("/proc/self/mounts");
  std::size_t longest = 0;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string source, point, type, options;
    fields >> source >> point >> type >> options;
    const std::string prefix = point == "/" ? "/" : point + "/";
    if (!(machine.path + "/").starts_with(prefix) || prefix.size() < longest) continue;
    longest = prefix.size();
    machine.file_system = type;
    machine.mount_source = source;
    machine.mount_options = options;
  }
}

std::vector<std::string> find_doubts(int processors) {
  std::vector<std::string> doubts;
#ifndef __OPTIMIZE__
  doubts.emplace_back("this spillway was built without optimization");
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  doubts.emplace_back("this spillway was built with sanitizers");
#endif
  std::ifstream load("/proc/loadavg");
  if (double minute = 0; load >> minute && minute > 0.5 * processors)
    doubts.push_back(fmt::format("a busy machine: load {:.1f} on {} processors in the last minute",
                                 minute, processors));
  return doubts;
}

}  // namespace

Machine look_at_machine(const std::filesystem::path& directory) {
  Machine machine;
  utsname kernel{};
  ::uname(&kernel);
  machine.kernel = kernel.release;
  machine.processor = processor_name();
  machine.processors = usable_processors();
  machine.memory_bytes = proc_bytes("/proc/meminfo", "MemTotal");
  machine.path = std::filesystem::weakly_canonical(directory).string();
  find_mount(machine);
  machine.doubts = find_doubts(machine.processors);
  return machine;
}

nlohmann::ordered_json machine_json(const Machine& machine) {
  return {{"processor", machine.processor},
          {"processors", machine.processors},
          {"memory_bytes", machine.memory_bytes},
          {"kernel", machine.kernel},
          {"path", machine.path},
          {"file_system", machine.file_system},
          {"mount_source", machine.mount_source},
          {"mount_options", machine.mount_options},
          {"doubts", machine.doubts}};
}

std::string machine_text(const Machine& machine) {
  std::string text =
      fmt::format("{}, {} processors, {}, Linux {}\n{}: {} on {} ({})\n", machine.processor,
                  machine.processors, demo::bytes_text(machine.memory_bytes), machine.kernel,
                  machine.path, machine.file_system, machine.mount_source, machine.mount_options);
  for (const std::string& doubt : machine.doubts) text += fmt::format("doubtful: {}\n", doubt);
  return text;
}

}  // namespace spillway::tool
