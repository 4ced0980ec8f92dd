#pragma once

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <utility>

namespace spillway {

/// A memory control group of 64 MiB for forked children, version 1 or 2.
class MemoryGroup {
 public:
  MemoryGroup() {
    for (const auto& [root, limit] : {std::pair{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                                      {"/sys/fs/cgroup", "memory.max"}}) {
      folder_ = std::filesystem::path(root) / fmt::format("spillway-test-{}", ::getpid());
      if (::mkdir(folder_.c_str(), 0755) != 0) continue;
      std::ofstream out(folder_ / limit);
      if (std::filesystem::exists(folder_ / limit) && out << bytes << std::flush) {
        made_ = true;
        return;
      }
      ::rmdir(folder_.c_str());
    }
  }
  ~MemoryGroup() {
    for (int attempt = 0; made_ && attempt < 100 && ::rmdir(folder_.c_str()) != 0; ++attempt)
      ::usleep(10'000);
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  static constexpr std::int64_t bytes = 64 << 20;

  bool made() const { return made_; }
  bool enter() const {  // the calling process
    std::ofstream out(folder_ / "cgroup.procs");
    return static_cast<bool>(out << ::getpid() << std::flush);
  }

 private:
  std::filesystem::path folder_;
  bool made_ = false;
};

}  // namespace spillway
