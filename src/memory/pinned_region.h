#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "spillway/config.h"

namespace spillway::sys {
class CudaDriver;
class HostMemory;
}  // namespace spillway::sys

namespace spillway {

/// How a region is asked for.
struct RegionOptions {
  bool pin = false;                       ///< lock: CUDA where a context is current, else mlock
  bool require_pinned = false;            ///< a region that cannot be locked is an error
  Switch huge_pages = Switch::automatic;  ///< on: an error unless all of it is huge
  bool prefault = true;                   ///< give every page a frame now, in parallel
  bool dump = true;                       ///< false: left out of core dumps
  int numa_node = -1;
  std::int64_t alignment = 4096;  ///< [bytes] where it starts, at least; a power of two
  std::string name = "pool";      ///< stands in messages
  std::string setting = "buffer_count or buffer_size";  ///< what to reduce when it does not fit
  sys::HostMemory* memory = nullptr;                    ///< null: the kernel's
  sys::CudaDriver* cuda = nullptr;                      ///< null: the machine's
};

/// What was asked and what was got.
struct RegionReport {
  std::int64_t requested_bytes = 0;
  std::int64_t region_bytes = 0;  ///< mapped: the request rounded up to 4096 (hugetlb: 2 MiB)
  std::int64_t locked_bytes = 0;  ///< by mlock
  std::int64_t cuda_bytes = 0;    ///< registered with CUDA (locked too, by the driver)
  std::int64_t huge_bytes = 0;    ///< backed by 2 MiB pages when it was made; -1: unknown
  bool hugetlb = false;
  std::vector<std::string> reasons;  ///< one line per step that was refused, with the mend
};

/// One exact-size anonymous mapping, on 2 MiB where it is at least that large, left out of forked
/// children. Huge pages matter more to a disk than any flag: 1 MiB of scattered 4 KiB pages needs
/// 256 segments per request. Each wish that the machine refuses costs a reason, not the region.
///
/// Threads: construction and destruction by one; the bytes are the owner's business.
class PinnedRegion {
 public:
  PinnedRegion() = default;
  /// Zero bytes are a legal, empty region. `pin` and `huge_pages` on imply `prefault`.
  /// Throws Error: invalid_argument (bytes < 0), out_of_memory (naming the setting to reduce),
  /// memlock_limit (require_pinned; with limit, need and the command that raises it), unsupported
  /// (huge_pages on, and not every whole 2 MiB is a huge page). Nothing is left mapped or locked.
  PinnedRegion(std::int64_t bytes, const RegionOptions& options);
  PinnedRegion(PinnedRegion&& other) noexcept;
  PinnedRegion& operator=(PinnedRegion&& other) noexcept;
  ~PinnedRegion();

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return report_.requested_bytes; }
  std::span<std::byte> span() const { return {data_, static_cast<std::size_t>(bytes())}; }
  const RegionReport& report() const { return report_; }

  /// Leaves the mapping to the process for ever: the device may still write into it.
  void abandon() noexcept;

 private:
  std::byte* data_ = nullptr;
  RegionReport report_;
  sys::HostMemory* memory_ = nullptr;
  sys::CudaDriver* cuda_ = nullptr;
  int owner_ = 0;  // process that made it: in a forked child the destructor does nothing
};

}  // namespace spillway
