#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <new>
#include <string>

#include "support/fuse_control.h"
#include "support/temp_dir.h"

namespace spillway::test {

/// A disk of the test's own: a FUSE file system that passes through to a directory, and fails,
/// shortens, delays or never answers the operations that a rule names. A process of its own, since
/// one that waits for itself in the kernel cannot be killed. Where FUSE is missing, `reason()` says
/// so and the test skips.
class FuseDisk {
 public:
  enum class Cache { none, write_back };  ///< of the kernel's, in front of it

  explicit FuseDisk(Cache cache = Cache::none) : cache_(cache) {
    at_ = folder_.folder("mount");
    if (const char* const missing = start()) {
      reason_ = std::string(missing) + (errno != 0 ? ": " + std::string(std::strerror(errno)) : "");
      return;
    }
    for (int waited_ms = 0; control_->mounted == 0; ++waited_ms) {
      int status = 0;
      if (waited_ms > 20'000 || ::waitpid(process_, &status, WNOHANG) == process_) {
        reason_ = "FUSE cannot be mounted here (/dev/fuse, and root or fusermount3)";
        return;
      }
      ::usleep(1000);
    }
    mounted_ = true;
  }
  ~FuseDisk() {
    if (control_ != nullptr) control_->hold = 0;
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
    if (lifeline_ >= 0) ::close(lifeline_);
    if (process_ > 0) ::waitpid(process_, nullptr, 0);
    if (control_ != nullptr) ::munmap(control_, sizeof(FuseControl));
  }
  FuseDisk(const FuseDisk&) = delete;
  FuseDisk& operator=(const FuseDisk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& reason() const { return reason_; }
  const std::filesystem::path& path() const { return at_; }
  FuseControl& control() { return *control_; }
  std::int64_t operations() const { return control_->operations; }
  std::int64_t hits() const { return control_->hits; }

  /// From now on: the operations numbered [from, to), counted from now, of these kinds, do not do
  /// what they are asked.
  struct Rule {
    int kinds = fuse_read | fuse_write;
    std::int64_t from = 0, to = INT64_MAX / 2;
    int error = 0;
    std::int64_t short_bytes = -1;
    int delay_us = 0;
    bool hold = false;
  };
  void rule(const Rule& rule) {
    mend();
    const std::int64_t now = control_->operations;
    control_->hits = 0;
    control_->from = now + rule.from;
    control_->to = now + rule.to;
    control_->error = rule.error;
    control_->short_bytes = rule.short_bytes;
    control_->delay_us = rule.delay_us;
    control_->hold = rule.hold ? 1 : 0;
    control_->kinds = rule.kinds;
  }
  /// Well again; what was held is answered.
  void mend() {
    control_->kinds = 0;
    control_->hold = 0;
  }
  /// Gone for good, as a device that is pulled out.
  void die() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

 private:
  const char* start() {
#ifndef SPILLWAY_FUSE_DISK
    errno = 0;
    return "built without libfuse3";
#else
    const int memory = ::memfd_create("spillway-fuse-control", MFD_CLOEXEC);
    if (memory < 0 || ::ftruncate(memory, sizeof(FuseControl)) != 0) return "no shared memory";
    void* const shared =
        ::mmap(nullptr, sizeof(FuseControl), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (shared == MAP_FAILED) return "no shared memory";
    control_ = new (shared) FuseControl;
    std::array<int, 2> pipe_ends{};
    if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return "no pipe";
    lifeline_ = pipe_ends[1];
    const std::string backing = folder_.folder("backing").string();
    std::string program = SPILLWAY_FUSE_DISK, from = backing, to = at_.string();
    std::string cache = cache_ == Cache::none ? "direct" : "cached";
    std::array<char*, 5> words{program.data(), from.data(), to.data(), cache.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    // Through high numbers first: one of ours may be 3 or 4 itself.
    ::posix_spawn_file_actions_adddup2(&actions, memory, 200);
    ::posix_spawn_file_actions_adddup2(&actions, pipe_ends[0], 201);
    ::posix_spawn_file_actions_adddup2(&actions, 200, 3);
    ::posix_spawn_file_actions_adddup2(&actions, 201, 4);
    ::posix_spawn_file_actions_addclose(&actions, 200);
    ::posix_spawn_file_actions_addclose(&actions, 201);
    errno = ::posix_spawn(&process_, program.c_str(), &actions, nullptr, words.data(), environ);
    if (errno != 0) process_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(memory);
    ::close(pipe_ends[0]);
    return process_ > 0 ? nullptr : "the file system's process cannot be started";
#endif
  }

  const Cache cache_;
  TempDir folder_;
  std::filesystem::path at_;
  FuseControl* control_ = nullptr;
  pid_t process_ = -1;
  int lifeline_ = -1;
  bool mounted_ = false;
  std::string reason_;
};

}  // namespace spillway::test
