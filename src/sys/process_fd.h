#pragma once

#include <utility>

#include "sys/file.h"
#include "sys/process.h"

namespace spillway::sys {

/// Owns a descriptor that a forked child does not keep: it is closed there by the fork itself.
/// Move-only. In a forked child it must not be destroyed, for its number may be another file by
/// then; owners leak it there.
class ProcessFd {
 public:
  ProcessFd() = default;
  explicit ProcessFd(UniqueFd fd) {
    if (!fd) return;
    close_in_child(fd.get());
    fd_ = fd.release();
  }
  ProcessFd(ProcessFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ProcessFd& operator=(ProcessFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~ProcessFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() noexcept {
    if (fd_ >= 0) forget_and_close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace spillway::sys
