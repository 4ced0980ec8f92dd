#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "io/engine.h"
#include "memory/pinned_region.h"

#include "spillway/path_load.h"

namespace spillway {

/// The files of a load, alike in size.
struct LoadFiles {
  std::vector<io::FileSpec> specs;
  std::int64_t bytes = 0;         ///< of each
  std::int64_t alignment = 4096;  ///< of transfers with any of them
};

/// One closed loop over an engine of its own: every transfer that ends starts the next one from
/// its callback, so that `queue_depth` are in flight until a bound is met. Blocks go over the files
/// in turn, in order, reads and writes each from the front, as fio does it.
class LoadRun {
 public:
  LoadRun(const LoadShape& shape, const LoadFiles& files, const PathLoadOptions& options,
          const LoadWatch& watch);
  /// Memory and records that a device may still touch stay for ever.
  ~LoadRun();
  LoadRun(const LoadRun&) = delete;
  LoadRun& operator=(const LoadRun&) = delete;

  LoadResult run();
  /// A transfer was given up: the files must stay open, too.
  bool abandoned() const { return abandoned_; }

 private:
  struct Slot {
    LoadRun* run = nullptr;
    io::Request request;
    std::byte* read_into = nullptr;
    const std::byte* write_from = nullptr;
  };

  static void on_done(io::Request& request, void* slot);
  void check_shape() const;
  void make_memory();
  void start();
  bool prepare(Slot& slot);  // false: a bound is met
  void end_slot();
  void wait_for_all();
  void give_up();
  LoadResult result() const;

  const LoadShape shape_;
  const LoadFiles& files_;
  const PathLoadOptions& options_;
  const LoadWatch& watch_;
  std::int64_t blocks_ = 0;  // over all files
  PinnedRegion memory_;      // before the engine, which may use both until it ends
  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<io::Engine> engine_;
  std::vector<io::FileId> ids_;
  bool abandoned_ = false;

  std::mutex prepare_;  // first transfers are prepared while others may end already; it guards:
  std::int64_t next_read_ = 0, next_write_ = 0;          // blocks
  std::int64_t planned_read_ = 0, planned_written_ = 0;  // [bytes]
  bool write_is_next_ = false;

  TimePoint deadline_;
  double cpu_before_ = 0, cpu_after_ = 0;
  std::int64_t begin_ns_ = 0, end_ns_ = 0;  // end and the rest: the I/O thread's until all ended
  std::int64_t read_ = 0, written_ = 0;     // [bytes]
  std::optional<Error> trouble_;

  std::atomic<bool> stop_{false};
  std::atomic<std::int64_t> moved_{0};  // [bytes], for progress
  std::mutex mutex_;
  std::condition_variable all_ended_;
  std::int64_t running_ = 0;
};

}  // namespace spillway
