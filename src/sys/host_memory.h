#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace spillway::sys {

/// The only door to page tables: anonymous mappings, page locks and advice.
///
/// Every call returns 0 or an errno; nothing throws. `at` and `bytes` are multiples of 4096.
/// Threads: all members may be called from any thread.
class HostMemory {
 public:
  virtual ~HostMemory() = default;

  /// Maps exactly `bytes` of zeroed private memory, starting on `alignment` (a power of two).
  virtual int map(std::int64_t bytes, std::int64_t alignment, std::byte*& at) = 0;
  /// The same from the hugetlb pool (2 MiB pages; `bytes` a multiple of 2 MiB). ENOMEM: none free.
  virtual int map_hugetlb(std::int64_t bytes, std::byte*& at) = 0;
  virtual void unmap(std::byte* at, std::int64_t bytes) noexcept = 0;

  virtual int advise_huge(std::byte* at, std::int64_t bytes) = 0;          ///< MADV_HUGEPAGE
  virtual int advise_small(std::byte* at, std::int64_t bytes) = 0;         ///< MADV_NOHUGEPAGE
  virtual int advise_dont_fork(std::byte* at, std::int64_t bytes) = 0;     ///< MADV_DONTFORK
  virtual int advise_dont_dump(std::byte* at, std::int64_t bytes) = 0;     ///< MADV_DONTDUMP
  virtual int bind_node(std::byte* at, std::int64_t bytes, int node) = 0;  ///< mbind, MPOL_BIND
  /// Gives every page a frame (MADV_POPULATE_WRITE, else by touching). Contents are kept.
  virtual int populate(std::byte* at, std::int64_t bytes) = 0;
  /// mlock: ENOMEM or EPERM when over RLIMIT_MEMLOCK.
  virtual int lock(std::byte* at, std::int64_t bytes) = 0;
  virtual void unlock(std::byte* at, std::int64_t bytes) noexcept = 0;
  /// [bytes] of the range that huge pages really back (from /proc/self/smaps); -1: unknown.
  virtual std::int64_t huge_bytes(const std::byte* at, std::int64_t bytes) = 0;
};

/// The kernel's. Lives for ever.
HostMemory& host_memory();

}  // namespace spillway::sys
