#pragma once

#include <atomic>
#include <cstdint>

namespace spillway::test {

/// What reaches the device of a FuseDisk.
enum FuseOp : int { fuse_read = 1, fuse_write = 2, fuse_allocate = 4, fuse_sync = 8 };

/// How a test tells the process behind a FuseDisk what to do: shared memory, read before every
/// operation. Operations of all kinds are numbered together, from 0, in the order of their arrival.
struct FuseControl {
  std::atomic<std::int64_t> operations{0};  ///< have arrived
  std::atomic<std::int64_t> hits{0};        ///< of those, hit by the rule
  std::atomic<std::int64_t> waiting{0};     ///< are being held now
  std::atomic<int> mounted{0};

  // The rule: which operations it hits, and what becomes of them.
  std::atomic<int> kinds{0};                  ///< of FuseOp; 0: no rule
  std::atomic<std::int64_t> from{0}, to{0};   ///< numbers
  std::atomic<int> error{0};                  ///< errno; 0: none
  std::atomic<std::int64_t> short_bytes{-1};  ///< moves only so many; -1: all
  std::atomic<int> delay_us{0};               ///< before it is done
  std::atomic<int> hold{0};                   ///< is not answered while this is set
};

static_assert(std::atomic<std::int64_t>::is_always_lock_free);

}  // namespace spillway::test
