#pragma once

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "support/temp_dir.h"

namespace spillway {

/// A small file system of its own, for full disks and for the manners of ext4, XFS and Btrfs. Needs
/// root, loop devices and the file system's mkfs; where they are missing, `reason()` says what, and
/// the test skips. Unmounted with its last test object. Use it in suites named ...SystemTest, which
/// run alone.
class LoopMount {
 public:
  /// `kind`: ext4, xfs, btrfs, or tmpfs (without an image). `options` are mount's.
  LoopMount(const std::string& kind, std::int64_t bytes, const std::string& options = "") {
    at_ = folder_.folder("mount");
    if (::geteuid() != 0) {
      reason_ = "mounting needs root";
      return;
    }
    if (kind == "tmpfs") {
      mounted_ =
          ::mount("tmpfs", at_.c_str(), "tmpfs", 0, fmt::format("size={}", bytes).c_str()) == 0;
      if (!mounted_) reason_ = fmt::format("tmpfs cannot be mounted: {}", std::strerror(errno));
      return;
    }
    const std::string image = (folder_.path() / "image").string();
    const int fd = ::open(image.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    const bool sized = fd >= 0 && ::ftruncate(fd, bytes) == 0;
    if (fd >= 0) ::close(fd);
    if (!sized) {
      reason_ = "no room for an image file";
      return;
    }
    const std::string make = kind == "ext4"  ? "mkfs.ext4 -q -F -m 0 "
                             : kind == "xfs" ? "mkfs.xfs -q -f "

                                             : "mkfs.btrfs -q -f ";
    if (!run(make + image)) {
      reason_ = fmt::format("mkfs.{} is missing or refuses", kind);
      return;
    }
    const std::string with = options.empty() ? "loop" : "loop," + options;
    mounted_ = run(fmt::format("mount -t {} -o {} {} {}", kind, with, image, at_.string()));
    if (!mounted_) reason_ = fmt::format("{} on a loop device cannot be mounted", kind);
  }
  ~LoopMount() {
    // Twice: an asynchronous close of a data file may hold it for a moment.
    for (int attempt = 0; mounted_ && attempt < 50; ++attempt) {
      if (::umount2(at_.c_str(), 0) == 0) return;
      ::usleep(20'000);
    }
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  LoopMount(const LoopMount&) = delete;
  LoopMount& operator=(const LoopMount&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& reason() const { return reason_; }
  const std::filesystem::path& path() const { return at_; }

 private:
  static bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
  }

  TempDir folder_;
  std::filesystem::path at_;
  bool mounted_ = false;
  std::string reason_;
};

}  // namespace spillway
