#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/align.h"
#include "base/clock.h"

namespace spillway {

class BufferPool;

/// The right to use a contiguous run of a pool. Gives itself back when destroyed.
/// One thread at a time; may be moved to and destroyed on any thread.
class BufferLease {
 public:
  BufferLease() = default;
  BufferLease(BufferLease&& other) noexcept;
  BufferLease& operator=(BufferLease&& other) noexcept;
  ~BufferLease() { release(); }

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }  ///< as asked for
  std::span<std::byte> span() const { return {data_, static_cast<std::size_t>(bytes_)}; }
  explicit operator bool() const { return pool_ != nullptr; }
  void release() noexcept;

 private:
  friend class BufferPool;
  BufferPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
  std::int64_t first_granule_ = 0;
  std::int64_t granules_ = 0;
};

/// Demands are served before prefetches; within a class it is first come, first served.
enum class PoolClass : std::uint8_t { demand, prefetch };

struct PoolStats {
  std::int64_t budget_bytes = 0;
  std::int64_t leased_bytes = 0;  ///< in whole granules
  std::int64_t peak_bytes = 0;
  std::int64_t largest_free_run = 0;
  std::int64_t acquires = 0;
  std::int64_t refused = 0;  ///< try_acquire that found nothing
  std::int64_t waits = 0;    ///< acquires that had to wait
  double wait_seconds = 0;
};

/// A fixed budget of host memory, leased in contiguous runs of granules, so that tensors of mixed
/// sizes share one budget and one larger than a single buffer still fits.
///
/// The budget is `buffer_count * buffer_size` bytes of memory that somebody else mapped, and that
/// many buffers fit side by side (sizes off 4 KiB: given `region_bytes()`). Granules are min(2 MiB
/// or the `largest_granule` that was asked for, buffer_size rounded up to 4 KiB); where those do
/// not divide the buffer, they are the largest multiple of 4 KiB below that does (a 3 MiB buffer
/// has two of 1.5 MiB: with whole 2 MiB ones, 3 buffers would not fit into their 9 MiB). The last
/// granule may be shorter, so that one run can be the whole budget.
///
/// An empty pool is back-pressure, not an error. Under AddressSanitizer free runs, and a run's rest
/// beyond the asked bytes, are poisoned.
///
/// Threads: all members may be called from any thread. It must outlive its leases (checked).
class BufferPool {
 public:
  /// [bytes] to map for a pool: buffer_count * buffer_size, with every buffer but the last rounded
  /// up to 4 KiB, because each starts on 4 KiB (DeepSpeed's 200,000,000 bytes do not end there).
  /// A pool over the bare product works too, but of such odd buffers one less may fit at a time.
  /// Throws Error invalid_argument as the constructor does.
  static std::int64_t region_bytes(std::int64_t buffer_count, std::int64_t buffer_size,
                                   std::int64_t alignment = page_bytes);

  /// `memory` is of at least buffer_count * buffer_size bytes, on `alignment`, and outlives the
  /// pool; runs start on it, as on the 4 KiB above. Throws Error invalid_argument (zero, negative,
  /// or the product overflows).
  BufferPool(std::span<std::byte> memory, std::int64_t buffer_count, std::int64_t buffer_size,
             std::string name = "pool", std::int64_t alignment = page_bytes,
             std::int64_t largest_granule = huge_page_bytes);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// A contiguous run of at least `bytes`, or nullopt when none is free now, or when somebody is
  /// queued whom this would overtake. Never waits. `holder` (a tensor's or tile's name; must
  /// outlive the lease) stands in the list of holders. Throws Error invalid_argument (bytes <= 0).
  std::optional<BufferLease> try_acquire(std::int64_t bytes, std::string_view holder = {});

  /// Waits for a run until `deadline`. Throws Error: does_not_fit (larger than the whole budget,
  /// with the smallest setting that works), timeout (with all holders and the largest free run),
  /// shut_down (after stop()), invalid_argument (bytes <= 0).
  BufferLease acquire(std::int64_t bytes, PoolClass service, TimePoint deadline,
                      std::string_view holder = {});

  /// Every waiting and later acquire ends with shut_down; leases stay valid.
  void stop() noexcept;

  std::int64_t budget_bytes() const;
  std::int64_t granule_bytes() const;
  /// "7 holders, 96.0 MiB: tile 3 (12.0 MiB), ..." and the largest free run.
  std::string describe_holders() const;
  PoolStats stats() const;

 private:
  friend class BufferLease;
  BufferLease lease(std::int64_t first_granule, std::int64_t bytes);
  void release(BufferLease& lease) noexcept;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spillway
