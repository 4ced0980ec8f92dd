#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace spillway::sys {

/// What this process may still take, as the kernel says now. Unlimited is INT64_MAX.
struct MemoryLimits {
  std::int64_t total = 0;             ///< [bytes] MemTotal
  std::int64_t available = 0;         ///< [bytes] MemAvailable
  std::int64_t cgroup_available = 0;  ///< [bytes] limit - use over all ancestors, v1 and v2
  std::string cgroup_path;            ///< where the tightest limit stands; empty: none
  std::int64_t address_space = 0;     ///< [bytes] RLIMIT_AS left
  std::int64_t memlock = 0;           ///< [bytes] RLIMIT_MEMLOCK (soft); ignored by root
  std::int64_t memlock_used = 0;      ///< [bytes] VmLck
  bool memlock_exempt = false;        ///< CAP_IPC_LOCK
};
MemoryLimits memory_limits();

/// The tightest memory limit of this process's control groups: limit - (use - inactive file cache,
/// which the kernel gives back first), least over the group and all its ancestors, v1 and v2.
struct CgroupMemory {
  std::int64_t available = INT64_MAX;  ///< [bytes] may be 0, never negative
  std::string path;                    ///< the directory with that limit; empty: no limit
};
/// `root` is put before every path (/proc/self/..., the mount points); tests give a made-up tree.
CgroupMemory cgroup_memory(const std::string& root = {});

std::int64_t resident_bytes();       ///< [bytes] VmRSS now
std::int64_t peak_resident_bytes();  ///< [bytes] VmHWM
std::int64_t locked_bytes();         ///< [bytes] VmLck
int open_descriptors();              ///< entries of /proc/self/fd, without the one it takes
int online_cpus();                   ///< that this process may run on

}  // namespace spillway::sys
