#include "process_figures.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace spillway::tool {
namespace {

std::optional<std::int64_t> first_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

// "max", and a file that is not there, are no number.
std::optional<std::int64_t> number_in(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  if (!std::getline(stream, line)) return std::nullopt;
  return first_number(line);
}

// What the cgroups (version 2) above this process leave it.
std::int64_t cgroup_room() {
  std::int64_t room = std::numeric_limits<std::int64_t>::max();
  std::ifstream stream("/proc/self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("0::/")) continue;
    const std::filesystem::path root("/sys/fs/cgroup");
    for (std::filesystem::path group = root / line.substr(4);; group = group.parent_path()) {
      const auto limit = number_in(group / "memory.max");
      const auto used = number_in(group / "memory.current");
      if (limit && used) room = std::min(room, std::max<std::int64_t>(*limit - *used, 0));
      if (group == root || !group.has_relative_path()) break;
    }
  }
  return room;
}

}  // namespace

std::int64_t proc_bytes(const char* file, std::string_view name) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const std::string_view text(line);
    if (!text.starts_with(name) || !text.substr(name.size()).starts_with(':')) continue;
    const auto kib = first_number(text.substr(name.size() + 1));
    return kib ? *kib * 1024 : -1;
  }
  return -1;
}

std::int64_t available_memory_bytes() {
  return std::min(proc_bytes("/proc/meminfo", "MemAvailable"), cgroup_room());
}

int usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on machines with more processors than the set holds; they have enough of them.
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return CPU_SETSIZE;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace spillway::tool
