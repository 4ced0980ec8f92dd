#include "sys/limits.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string_view>

#include "base/align.h"
#include "sys/text_file.h"

namespace spillway::sys {
namespace {

constexpr std::int64_t unlimited = INT64_MAX;

/// [bytes] of the line that starts with `key` ("MemAvailable:  24 kB").
std::optional<std::int64_t> kib_field(std::string_view text, std::string_view key) {
  const auto line = line_with(text, key);
  if (!line) return std::nullopt;
  const auto value = leading_number(*line);
  return value ? std::optional(*value * KiB) : std::nullopt;
}

std::int64_t soft_limit(__rlimit_resource what) {
  rlimit limit{};
  if (::getrlimit(what, &limit) != 0 || limit.rlim_cur > static_cast<rlim_t>(unlimited))
    return unlimited;
  return static_cast<std::int64_t>(limit.rlim_cur);
}

std::int64_t status_field(std::string_view key) {
  return kib_field(read_text("/proc/self/status"), key).value_or(0);
}

/// CAP_IPC_LOCK counts in the first user namespace only: "root" of a rootless container has the
/// bit but keeps its limit.
bool may_lock_without_limit(std::string_view status) {
  constexpr int cap_ipc_lock = 14;
  const auto line = line_with(status, "CapEff:");
  if (!line) return false;
  const auto hex = line->substr(std::min(line->find_first_not_of(" \t"), line->size()));
  std::uint64_t capabilities = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), capabilities, 16);
  if ((capabilities >> cap_ipc_lock & 1) == 0) return false;
  const std::string map = read_text("/proc/self/uid_map");
  return map.empty() || map.find("4294967295") != std::string::npos;
}

}  // namespace

MemoryLimits memory_limits() {
  MemoryLimits limits;
  const std::string meminfo = read_text("/proc/meminfo");
  limits.total = kib_field(meminfo, "MemTotal:").value_or(unlimited);
  limits.available = kib_field(meminfo, "MemAvailable:").value_or(unlimited);
  const CgroupMemory cgroup = cgroup_memory();
  limits.cgroup_available = cgroup.available;
  limits.cgroup_path = cgroup.path;

  const std::string status = read_text("/proc/self/status");
  const std::int64_t space = soft_limit(RLIMIT_AS);
  limits.address_space =
      space == unlimited
          ? unlimited
          : std::max<std::int64_t>(0, space - kib_field(status, "VmSize:").value_or(0));
  limits.memlock = soft_limit(RLIMIT_MEMLOCK);
  limits.memlock_used = kib_field(status, "VmLck:").value_or(0);
  limits.memlock_exempt = may_lock_without_limit(status);
  return limits;
}

std::int64_t resident_bytes() { return status_field("VmRSS:"); }
std::int64_t peak_resident_bytes() { return status_field("VmHWM:"); }
std::int64_t locked_bytes() { return status_field("VmLck:"); }

int open_descriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc/self/fd"), ::closedir);
  if (!directory) return 0;
  int entries = 0;
  while (const dirent* entry = ::readdir(directory.get()))
    if (entry->d_name[0] != '.') ++entries;
  return entries - 1;  // the directory's own
}

int online_cpus() {
  // The kernel refuses a set smaller than its own, so it grows until it is taken.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(
        CPU_ALLOC(static_cast<std::size_t>(cpus)), [](cpu_set_t* at) { CPU_FREE(at); });
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    if (set && ::sched_getaffinity(0, bytes, set.get()) == 0)
      return std::max(1, CPU_COUNT_S(bytes, set.get()));
  }
  return 1;
}

}  // namespace spillway::sys
