#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/condition.h"
#include "memory/buffer_pool.h"
#include "memory/pinned_region.h"
#include "store/extent_map.h"
#include "swap/house.h"
#include "swap/lease.h"
#include "swap/table.h"

#include "spillway/optimizer_swapper.h"

namespace spillway::swap {

/// The optimizer swapper behind the public one: a table of tiles, a few leases, and one mutex.
///
/// The pipeline advances from two sides: next(), commit() and drop() on the engine's threads, and
/// the completions on the I/O thread, which start the next reads themselves, so that the device's
/// queue stays full while the engine computes. Checksums, fills and copies run on the engine's
/// threads without the mutex. The mutex may be held while requests are submitted, never while
/// waiting for the I/O thread, except where no request of ours can be in flight (add, seal).
class Swapper {
 public:
  Swapper(std::shared_ptr<House> house, OptimizerOptions options);
  ~Swapper();

  UnitId add_unit(std::string name);
  ParamId add(std::string name, std::int64_t elements, const ParamOptions& options);
  void remove(ParamId id);
  void seal();

  PassState* begin(const Pass& pass);
  std::optional<Tile> next(PassState& pass);
  std::span<const Slice> upcoming(PassState& pass);
  /// Drains and forgets the pass; what is still held keeps it alive until it comes back.
  void close(PassState* pass) noexcept;
  void commit(Lease& lease);
  void drop(Lease& lease) noexcept;
  std::span<std::byte> bytes_of(const Lease& lease, std::uint32_t slice, std::string_view state,
                                DType dtype, bool mutate);

  void read_state(ParamId id, std::string_view state, std::int64_t offset, std::span<std::byte> to);
  void write_state(ParamId id, std::string_view state, std::int64_t offset,
                   std::span<const std::byte> from);
  void reset(std::string_view state, double value);
  void check_dtype(std::string_view state, DType dtype) const;

  const ParamRecord& param(ParamId id) const;
  OptimizerStats stats() const;
  bool forked() const noexcept { return house_->forked(); }
  House& house() { return *house_; }

  /// Waits for what is in flight, up to io.shutdown_timeout. False: the device has not answered,
  /// or the engine still holds tiles; the swapper must then live for ever.
  bool quiesce() noexcept;

 private:
  using Lock = std::unique_lock<std::mutex>;

  // A pass of ours inside a call: it may run where an engine's would be refused.
  struct Internal {
    std::int64_t from = 0, to = INT64_MAX;
    std::uint32_t first_tile = 0;
    bool sealing = false;  // inside seal()
  };

  // seal.cpp
  bool sealed() const { return sealed_once_ && sealed_tiles_ == table_.tiles().size(); }
  void make_pool();
  void make_homes(std::int64_t bytes, std::span<std::byte*> places);
  void make_leases(bool residents);
  std::int64_t home_bytes(const TileRecord& tile) const;
  RegionOptions region_options(std::string name, bool pool) const;
  PassState* open_initial_values(std::size_t first_new_tile);
  void write_initial_values(PassState& pass);
  bool writes_initial_values() const;

  // begin.cpp
  PassState* begin(const Pass& pass, const Internal* internal);
  PassState* open(const Pass& pass, const Internal* internal);
  void check_order(const PassState& pass) const;
  std::vector<ParamId> torn_params(const PassState& pass, std::uint32_t states) const;
  bool holds_failed(UnitId unit) const;
  void retry_failed_writes();
  void await_leftovers(Lock& lock);
  void finish(PassState& pass);
  void settle(PassState& pass);
  void settle_step(UnitRecord& unit, bool failed);

  // visit.cpp
  bool selects(const PassState& pass, const SliceRecord& slice) const;
  bool yields(const PassState& pass, const SliceRecord& slice) const;
  bool visits(const PassState& pass, const TileRecord& tile) const;
  TileRecord* find(const PassState& pass, PassState::Cursor& at, std::uint32_t& index);

  // buffers.cpp
  [[noreturn]] void timed_out(const char* what) const;
  int most_held() const;
  Lease* free_lease(bool resident);
  void assign(Lease& lease, PassState& pass, std::uint32_t tile);
  void release(Lease& lease) noexcept;
  bool revoke_prefetch(const PassState& pass);
  Lease& take_buffer(Lock& lock, PassState& pass);

  // read.cpp
  static int most_moving_of(int buffers, std::int64_t tile_bytes);
  void start_read(Lease& lease, io::Service service);
  void read_ahead(PassState& pass);
  void read_ahead_all();
  static void read_done(store::Transfer& transfer, void* context);
  static void section_arrived(store::Transfer& transfer, void* context);

  // next.cpp
  Lease* claim(Lock& lock, PassState& pass);
  std::uint32_t unverified(const Lease& lease) const;
  void verify_arrived(Lock& lock, Lease& lease);
  void prepare(Lease& lease);
  void build_slices(Lease& lease);
  void drain(Lock& lock, PassState& pass);
  void check_healthy(const PassState& pass) const;
  void fail(PassState& pass) const noexcept;
  // False: nothing has moved for io.timeout. However much is queued, a device that moves is not
  // dead.
  template <typename Ready>
  bool wait_moving(Lock& lock, Ready ready) {
    for (bool is_ready = false; !is_ready;) {
      const std::int64_t before = moves_;
      const auto woken = [&] { return (is_ready = ready()) || moves_ != before; };
      if (!moved_.wait_until(lock, deadline_in(io_.timeout), woken)) return false;
    }
    return true;
  }
  template <typename Ready>
  void wait(Lock& lock, double& stall, const char* what, Ready ready) {
    if (ready()) return;
    const TimePoint start = Clock::now();
    const bool in_time = wait_moving(lock, ready);
    stall += seconds_between(start, Clock::now());
    if (!in_time) timed_out(what);
  }

  // commit.cpp
  void returned(PassState* pass) noexcept;
  void check_all_written(const Lease& lease, std::uint32_t changed) const;
  void mark_committed(Lease& lease, std::uint32_t states);
  void seal_states(Lease& lease, std::uint32_t states);
  void start_write(Lease& lease) noexcept;
  void queue_write(Lease& lease) noexcept;
  void write_queued() noexcept;
  static void write_done(store::Transfer& transfer, void* context);
  Error error_of(const store::Transfer& transfer) const noexcept;
  Error explain(const Lease& lease, const char* doing) const noexcept;

  // initial.cpp
  std::vector<Source> sources_of(const std::string& name, std::int64_t elements,
                                 const ParamOptions& options) const;
  const Source* source_of(ParamId param, int s) const;
  bool needs_first(const PassState& pass, const SliceRecord& slice, std::uint32_t bit) const;
  void take_first(const Source& source, const std::string& what, DType dtype, std::int64_t offset,
                  std::span<std::byte> to) const;
  std::string describe_state(const TileRecord& tile, int s) const;
  void fill_unwritten(Lease& lease, std::uint32_t states);
  void prefetch_sources(Lock& lock, PassState& pass);
  void seal_sources();

  // state.cpp, read_state.cpp
  std::byte* slice_bytes(const Lease& lease, std::uint32_t unit_slice, int s) const;
  void home_sections(const TileRecord& tile, std::array<std::byte*, max_states>& at) const;
  void read_slice(std::uint32_t tile, std::uint32_t slice, int s, std::int64_t first,
                  std::span<std::byte> to);
  void read_section(Lock& lock, std::uint32_t tile, int s);
  void await_scratch(TimePoint deadline);
  static void scratch_done(store::Transfer& transfer, void* context);
  int checked_state(std::string_view state) const;
  std::byte* undo_bytes(const Lease& lease, std::uint32_t unit_slice, int s) const;
  void check_range(const ParamRecord& param, int s, std::int64_t offset, std::int64_t bytes) const;
  void check_no_pass(Lock& lock, const char* call);

  const std::shared_ptr<House> house_;
  const OptimizerOptions options_;
  const OffloadOptimizerConfig offload_;
  const IoConfig io_;
  store::Store* const store_;  // null: devices none and cpu
  const Error no_memory_;      // made while there is some
  const int buffers_;
  const int max_held_;

  std::mutex seal_mutex_;  // one thread seals; before mutex_
  mutable std::mutex mutex_;
  io::Condition moved_;
  Table table_;
  bool sourced_ = false;  // some first values come, or came, from parameters
  bool sealed_once_ = false;
  std::size_t sealed_tiles_ = 0;
  std::vector<std::unique_ptr<PassState>> passes_;
  int held_ = 0;
  // Tiles move in turns: see most_moving_of() in read.cpp.
  const int most_moving_;
  int reads_moving_ = 0, writes_moving_ = 0;  // tiles with the device
  std::int64_t moves_ = 0;                    // sections and tiles that it has moved
  Lease* first_write_ = nullptr;              // committed, waiting for their turn
  Lease* last_write_ = nullptr;
  int demands_ = 0;  // threads in next() that wait for a buffer: reads ahead stand back
  OptimizerStats stats_;

  // Order matters: leases and pools go before the memory they lie in.
  PinnedRegion pool_region_;
  PinnedRegion undo_region_;
  std::vector<PinnedRegion> homes_;
  store::ExtentMap spare_homes_;  // addresses in them that removed parameters have left
  std::unique_ptr<BufferPool> pool_;
  std::vector<std::unique_ptr<Lease>> leases_;  // buffers_ with buffers, then those for residents

  // read_state: one at a time (scratch_mutex_ comes before mutex_). Its completion needs none of
  // the mutexes that are held while the I/O thread is waited for. A read that timed out leaves the
  // scratch in flight behind it.
  std::mutex scratch_mutex_;
  PinnedRegion scratch_;
  std::unique_ptr<store::Transfer> scratch_transfer_;
  std::mutex scratch_done_mutex_;
  std::condition_variable scratch_moved_;
  bool scratch_in_flight_ = false;  // guarded by scratch_done_mutex_
};

}  // namespace spillway::swap
