#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace spillway::sys {

/// Owns a descriptor; O_CLOEXEC always. Move-only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

/// pread/pwrite of one piece: bytes moved, or -errno. EINTR is not retried here. `dsync` adds
/// RWF_DSYNC, so that a buffered write's late error reaches its request.
std::int64_t read_at(int fd, std::byte* to, std::int64_t bytes, std::int64_t offset) noexcept;
std::int64_t write_at(int fd, const std::byte* from, std::int64_t bytes, std::int64_t offset,
                      bool dsync) noexcept;

/// What the file system says of an open file.
struct FileFacts {
  std::string fs_name;     ///< "ext4", "xfs", "btrfs", "tmpfs", "fuse", or the magic
  bool is_memory = false;  ///< tmpfs, ramfs: writes take memory, not disk
  bool is_btrfs = false;
  std::int64_t dio_memory_align = 0;  ///< STATX_DIOALIGN; 0: not reported or no direct I/O
  std::int64_t dio_offset_align = 0;
  std::uint64_t device = 0, inode = 0;
  std::int64_t size = 0;
};
int file_facts(int fd, FileFacts& facts) noexcept;

/// [bytes] that this user may still write to the file system of `fd`; 0 or errno.
int free_space(int fd, std::int64_t& bytes) noexcept;

/// [bytes] of the range that the page cache holds (cachestat, else mincore); -1: unknown.
std::int64_t cached_bytes(int fd, std::int64_t offset, std::int64_t bytes) noexcept;

/// What a block device (FileFacts::device; a partition or a whole disk) has moved since boot.
struct DeviceCounters {
  std::int64_t read_bytes = 0, written_bytes = 0;
};
/// False where there is none: no block device behind the file system, or its counting is off.
bool device_counters(std::uint64_t device, DeviceCounters& counters) noexcept;

/// "No space left on device (ENOSPC)".
std::string errno_text(int error);

}  // namespace spillway::sys
