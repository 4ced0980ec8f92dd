#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cache/cache.h"
#include "cache/choice.h"
#include "memory/buffer_pool.h"
#include "memory/pinned_region.h"
#include "store/volume.h"
#include "swap/arena.h"
#include "swap/house.h"
#include "swap/parameter_records.h"

#include "spillway/parameter_swapper.h"

namespace spillway::swap {

/// The parameter swapper behind the public one.
///
/// A fetch waits, holding nothing, until everything it needs can be had at once: the ranges, and
/// one run of the pool for what the cache does not take. Then it takes all of it and waits for its
/// reads alone. So fetches cannot block each other half way, whatever their order.
///
/// One mutex. Under it: every change of state, and the submission of I/O. Not under it: checksums,
/// copies in and out of leases, fences. (Moving blocks inside the cache is done under it: nobody
/// may look at them meanwhile.) Completions run on the I/O thread and take it for a few
/// instructions.
// Its members stand in the order of their destruction.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
class Parameters {
 public:
  Parameters(std::shared_ptr<House> house, ParameterSwapperOptions options);
  ~Parameters();

  UnitId add_unit(std::string name);
  ParamId add(std::string name, std::int64_t elements, DType dtype, const TensorOptions& options);
  void remove(ParamId id);
  void seal() { seal(Sealed::all); }

  Lease fetch(ParamId id, Access access, Range range);
  Lease fetch(UnitId id, Access access);
  std::optional<Lease> try_fetch(UnitId id);
  std::optional<Lease> try_fetch(ParamId id, Range range);
  int prefetch(std::span<const UnitId> units);
  int prefetch(ParamId id, Range range);
  Residence where(ParamId id);
  void begin_pass(std::string_view name);
  ReadInto read_into(ParamId id, std::span<std::byte> to, Range range);
  /// Committed values of a range as `dtype` holds them (see widen.h), a part of the pool at a time.
  /// No use in the order of a pass, and nothing enters the cache for it.
  void read_as(ParamId id, DType dtype, std::span<std::byte> to, Range range);
  bool ready(Intake& intake);
  void wait(Intake& intake);
  void end(Intake* intake) noexcept;
  void flush();

  void commit(Hold& hold);
  void release(Hold& hold) noexcept;
  void release_after(Hold& hold, Fence fence);

  DType dtype(ParamId id);
  void check_dtype(ParamId id, DType dtype);
  const std::string& name(ParamId id);
  std::int64_t elements(ParamId id);
  ParameterStats stats();
  bool forked() const noexcept { return house_->forked(); }

  /// Waits for what is in flight, up to io.shutdown_timeout. False: the device has not answered,
  /// or leases are alive (named in the log); it must then live for ever.
  bool quiesce() noexcept;

 private:
  using Lock = std::unique_lock<std::mutex>;
  // Those of its tensors that were removed stay in the list until they are as many as the others.
  struct Unit {
    std::string name;
    std::vector<std::uint32_t> tensors;  // in the order of add
    std::size_t removed = 0;             // of them
  };
  // One call of fetch() on its way.
  struct Request {
    Hold* hold = nullptr;
    bool whole = false;  // of every tensor: counts for the order, may be cached
    bool counted = false;
    bool retried = false;                // failed writes, for the memory that they hold
    bool joined = false;                 // it waits for a read that was not begun for it
    bool again = false;                  // such a read failed: now all are its own
    std::uint64_t number = 0;            // once failed writes are in its way
    std::uint64_t ticket = 0;            // in the queue for memory; 0: not in it
    TimePoint deadline{};                // set when it first waits
    std::vector<const Tensor*> cleaned;  // are written so that they can go from the cache for it
  };
  // What has been made for the parameters there are. Who only overwrites needs no cache: so a model
  // that is added and filled piece by piece gets one for all of it, in one piece.
  enum class Sealed { no, without_cache, all };
  enum class Admission { in, refused, cleaning };
  enum class Price { worth, any };  // of what a tensor displaces in the cache: less than it, or any
  // A run in the pool [bytes], and when it is needed next; 0: it must stay.
  struct Neighbour {
    std::int64_t at = 0, end = 0;
    cache::Time when = 0;
    PoolRun* run = nullptr;
  };
  // Where in the pool a part's new copy goes. `at` < 0: it needs none.
  struct Place {
    PoolRun* run = nullptr;
    std::int64_t at = -1;  // [bytes] in the run
  };

  // parameters.cpp: the table
  Tensor& tensor(ParamId id);
  Unit& unit(UnitId id);
  std::int64_t block_bytes(const Tensor& tensor) const { return block_ * width(tensor.dtype); }
  std::int64_t bytes(const Tensor& tensor, const Blocks& blocks) const;      // of elements
  std::int64_t footprint(const Tensor& tensor, const Blocks& blocks) const;  // whole 4 KiB
  Blocks all(const Tensor& tensor) const;
  std::int64_t blocks_of(std::int64_t elements) const;
  std::byte* at(const Copy& copy, std::int64_t block) const;
  void check_range(const Tensor& tensor, Range& range) const;
  void write_initial(ParamId id, std::span<const std::byte> values);
  void remove_tensor(ParamId id);
  void leave_unit(const Tensor& tensor) noexcept;
  std::int64_t copy_step(const Tensor& tensor) const;
  std::int64_t metadata_bytes() const;

  // parameter_memory.cpp: seal, the two budgets
  void seal(Sealed enough);
  void seal_table(Sealed enough);
  bool needs_home(std::uint32_t index) const;
  void take_spare_homes();
  void make_homes(std::int64_t bytes);
  void ensure_pool();
  std::int64_t pool_budget() const { return offload_.buffer_count * offload_.buffer_size; }
  RegionOptions region_options(std::string name, bool pool) const;
  PinnedRegion pool_memory() const;
  std::unique_ptr<BufferPool> pool_over(const PinnedRegion& region) const;
  Admission admit(Tensor& tensor, cache::Time when, Price price = Price::worth);
  bool clean_or_start(Copy& copy);
  std::byte* cache_room(std::int64_t bytes);
  void drop_cached(Copy& copy);
  PoolRun* free_run(std::int64_t bytes, std::string_view holder, std::size_t copies);
  PoolRun* take_run(std::int64_t bytes, std::string_view holder, std::size_t copies,
                    cache::Time keep_before);
  bool take_room(const Hold& hold, std::int64_t total);
  bool take_runs(const Hold& hold, std::int64_t total);
  bool clear_row(std::int64_t bytes, cache::Time keep_before);
  void list_neighbours();
  std::int64_t contiguous_room();
  void give_places() noexcept;
  cache::Time worth(const PoolRun& run) const;
  PoolRun* least_useful();
  void revoke(PoolRun& run) noexcept;
  void spare_copies(std::size_t count);
  Copy* new_copy(Tensor& tensor, const Blocks& blocks, std::byte* data, PoolRun* run);
  void link(Copy& copy);
  void unlink(Copy& copy) noexcept;
  void free_copy(Copy& copy) noexcept;
  void put_back(Copy& copy) noexcept;
  void set_dirty(Copy& copy, const Blocks& dirty) noexcept;
  void set_failed(Copy& copy, bool failed) noexcept;
  void count_ahead(Copy& copy) noexcept;
  void count_ahead(Copy& copy, std::int64_t now) noexcept;
  void end_ahead(Copy& copy) noexcept;
  void use(Copy& copy) noexcept;
  void unuse(Copy& copy) noexcept;
  void give(PoolRun* run) noexcept;

  // parameter_io.cpp: movements
  Trip& new_trip();
  Error error_of(const store::Movement& movement) const noexcept;
  Error unreadable(const Tensor& tensor, const Error& error) const noexcept;
  void end_trip(Trip& trip) noexcept;
  // Zeroes in `data`, where `blocks` of the tensor go, what was never written, and calls
  // `visit(address, to, space)` for each run of blocks that was.
  template <typename Visit>
  void for_each_written_run(Tensor& tensor, const Blocks& blocks, std::byte* data, Visit visit) {
    const std::uint64_t* const seals = tensor.seals();
    for (std::int64_t block = blocks.first; block < blocks.last;) {
      const bool written = seals[block] != 0;
      std::int64_t end = block + 1;
      while (end < blocks.last && (seals[end] != 0) == written) ++end;
      std::byte* const to = data + (block - blocks.first) * block_bytes(tensor);
      const std::int64_t space = footprint(tensor, {block, end});
      if (written)
        visit(tensor.address + block * block_bytes(tensor), to, space);
      else
        std::memset(to, 0, static_cast<std::size_t>(space));
      block = end;
    }
  }
  void start_read(Copy& copy, const Blocks& blocks, io::Service service) noexcept;
  void read_in_pieces(Copy& copy, const Blocks& blocks, io::Service service) noexcept;
  void start_reads(std::span<Copy* const> copies, io::Service service) noexcept;
  void depart(std::span<Copy* const> copies, const Blocks& blocks, std::int64_t address,
              std::byte* data, std::int64_t bytes, io::Service service) noexcept;
  void promote(const Copy& copy) noexcept;
  bool older_write(const Copy& copy) const;
  void start_write(Copy& copy) noexcept;
  void write_queued(Tensor& tensor) noexcept;
  template <typename Visit>
  void for_each_failed(Visit visit) const;
  void retry_failed_writes() noexcept;
  const Copy* failed_copy() const;
  void retry_or_throw(Request& request, Copy& copy);
  [[noreturn]] void throw_write_error(const Copy& copy) const;
  static void read_done(store::Movement& movement, void* context);
  void arrive(Trip& trip, const Error* error) noexcept;
  static void write_done(store::Movement& movement, void* context);
  std::uint64_t seal_of(const Tensor& tensor, std::int64_t block, const std::byte* data) const;
  void compare(Tensor& tensor, std::int64_t block, const std::byte* data) const;
  void verify(const Copy& copy, const Blocks& blocks) const;
  void put_seals(const Copy& copy, const Blocks& blocks) const;
  void make_checked(Lock& lock, Request& request, Copy& copy, const Blocks& own);

  // parameter_check.cpp: checksums of what has been read
  void start_checker();
  void stop_checker() noexcept;
  bool take_for_check(Trip& trip) noexcept;
  Trip* next_to_check(const Copy* copy) noexcept;
  void check_arrivals() noexcept;
  void check(Lock& lock, Trip& trip) noexcept;
  void check(Lock& lock, Trip& trip, Copy& copy, const Blocks& blocks) noexcept;

  // parameter_fetch.cpp: a fetch
  enum class Step { taken, lease, io, memory };
  /// As long as it lives, what the hold alone looks at in the cache may move, and what the cache
  /// takes for it is not read yet: what is being read cannot move. Then that is read.
  class PlacesFirst {
   public:
    PlacesFirst(Parameters& owner, Hold& hold) noexcept;
    ~PlacesFirst();
    PlacesFirst(const PlacesFirst&) = delete;
    PlacesFirst& operator=(const PlacesFirst&) = delete;
    void admitted(Part& part) noexcept;

   private:
    Parameters& owner_;
    Hold& hold_;
  };
  Hold* new_hold(Access access);
  Hold* unit_hold(UnitId id, Access access);
  Request request_for(ParamId id, Access access, Range range);
  void free_hold(Hold& hold) noexcept;
  void add_part(Hold& hold, Tensor& tensor, const Range& range);
  static Sealed needed_for(Access access);
  Lock lock_sealed(Sealed enough = Sealed::all);
  Lease fetch(Lock& lock, Request& request);
  std::optional<Lease> try_take(Lock& lock, Request& request);
  bool conflicts(const Part& part, Access access) const;
  bool being_compared(const Part& part) const;
  bool must_wait_for_write(Request& request);
  Copy* covering(const Part& part) const;
  Step attempt(Request& request);
  Step claim(Request& request);
  Step claim(Request& request, bool newer_only);
  void share_cached(Part& part) noexcept;
  Step admit_missing(Request& request);
  static bool cleaning(Request& request) noexcept;
  void let_cached_go(Hold& hold) noexcept;
  bool needs_old(const Part& part) const;
  void find_in_pool(Part& part, bool newer_only);
  void forget_found(Hold& hold) noexcept;
  [[noreturn]] void throw_does_not_fit(const Request& request, std::int64_t total) const;
  static std::byte* data_at(const Place& place) { return place.run->memory.data() + place.at; }
  void take(Request& request) noexcept;
  bool keep_rest(Copy& copy, const Blocks& old, int users) noexcept;
  void supersede_clean(const Part& part) noexcept;
  std::array<std::int64_t, 2> edges(const Part& part) const;
  void read_edges(const Part& part) noexcept;
  bool filled(Lock& lock, Request& request);
  void fill(Lock& lock, Request& request);
  void move_in(Lock& lock, Part& part);
  void let_source_go(Part& part) noexcept;
  void await(Lock& lock, Request& request, const Copy& copy);
  void check_own(Lock& lock, Part& part);
  void build_views(Hold& hold);
  void let_go(Hold& hold) noexcept;
  void undo(Hold& hold) noexcept;
  static bool in_cache(const Part& part);
  void begin_changes(Hold& hold);
  void end_change(Part& part) noexcept;
  void take_late(Copy& copy) noexcept;
  void supersede(Part& part) noexcept;
  void poll_fences() noexcept;
  TimePoint start_deadline() const;
  bool mine(const Request& request) const;
  void leave_queue(Request& request) noexcept;
  void wait_for(Lock& lock, Request& request, Step why);
  [[noreturn]] void timed_out(const Request& request, Step why);
  std::string what(const Request& request) const;
  std::string describe_leases(const Request& request) const;

  // parameter_large.cpp: a fetch of more than the pool can hold
  std::int64_t too_large_for_pool(const Request& request) const;
  Step relieve_pool(Request& request, std::int64_t missing);
  bool choose_for_cache(Hold& hold, bool now);
  Step admit_chosen(Request& request, std::int64_t missing);
  bool alone(const Request& request) const;

  // parameter_ahead.cpp: reading ahead
  void begin_ahead(std::span<Copy* const> copies) noexcept;
  void run_ahead() noexcept;
  bool read_ahead(const cache::Use& use);
  bool prefetch_whole(Tensor& tensor);
  bool prefetch_part(Tensor& tensor, const Blocks& blocks);
  bool into_pool(Tensor& tensor, cache::Time when, bool wanted);
  bool excluded(const Tensor& tensor, const Blocks& blocks) const;
  bool here_or_coming(const Tensor& tensor, const Blocks& blocks) const;

  // parameter_intake.cpp: read_into
  bool straight(const Tensor& tensor, const Range& range, std::span<std::byte> to) const;
  template <typename Visit>
  void for_each_part(ParamId id, const Range& range, bool counts, Visit visit);
  void copy_out(ParamId id, std::span<std::byte> to, const Range& range);
  void read_straight(Lock& lock, Request& request, Intake& intake);
  void depart(Intake& intake, std::int64_t address, std::byte* data, std::int64_t bytes) noexcept;
  static void intake_done(store::Movement& movement, void* context);

  const std::shared_ptr<House> house_;
  const ParameterSwapperOptions options_;
  const OffloadParamConfig offload_;
  const IoConfig io_;
  store::Volume* const volume_;  // null: devices none and cpu
  const Error no_memory_;        // made while there is some
  const double timeout_;
  const std::int64_t alignment_;  // [bytes] of what is read and written, here and there
  const std::int64_t block_;      // [elements]
  // [bytes] of one movement of a read: the checksums of what is here are computed while the rest is
  // coming.
  const std::int64_t piece_bytes_;

  std::mutex table_mutex_;  // add, remove, seal: one at a time. Before mutex_, and held while the
                            // I/O thread is waited for, which mutex_ never is
  mutable std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<Tensor> tensors_;
  std::vector<std::uint32_t> homeless_;  // added, and not looked at by a seal yet
  std::vector<Unit> units_;
  std::atomic<Sealed> sealed_{Sealed::no};
  std::int64_t elements_ = 0, live_ = 0, footprints_ = 0;
  std::int64_t largest_ = 0;  // [bytes] the footprint of the largest parameter that there ever was
  DType widest_ = DType::u8;
  ParameterStats stats_;
  int failed_ = 0;  // copies whose last write did

  cache::Cache cache_;
  cache::Time ahead_ = 0;         // read ahead up to here
  std::int64_t ahead_bytes_ = 0;  // of reads ahead under way
  std::uint64_t generation_ = 0;
  bool in_run_ahead_ = false;

  std::vector<std::uint64_t> queue_;  // tickets that wait for memory
  std::uint64_t last_ticket_ = 0;
  std::uint64_t last_number_ = 0;  // of a Request
  std::uint64_t uses_ = 0;

  // Order matters: runs and copies go before the memory they lie in.
  PinnedRegion pool_region_;
  std::vector<PinnedRegion> cache_regions_;
  std::vector<PinnedRegion> homes_;
  std::int64_t registered_ = 0;
  store::ExtentMap spare_homes_;  // addresses that removed parameters have left
  Arena arena_;
  std::unique_ptr<BufferPool> pool_;
  std::vector<std::unique_ptr<PoolRun>> runs_;  // all; those with copies are in use
  std::vector<PoolRun*> free_runs_;
  std::vector<std::unique_ptr<Copy>> copies_;
  std::vector<Copy*> free_copies_;
  std::vector<std::unique_ptr<Trip>> trips_;
  Trip* free_trips_ = nullptr;
  int trips_under_way_ = 0;
  std::vector<std::unique_ptr<Hold>> holds_;
  Hold* free_holds_ = nullptr;
  int holds_out_ = 0;
  Hold* fenced_ = nullptr;
  std::atomic<int> fenced_count_{0};

  std::condition_variable to_check_;
  Trip* first_to_check_ = nullptr;
  Trip* last_to_check_ = nullptr;
  bool checker_stops_ = false;
  std::thread checker_;

  // Of the attempt or admission at hand, under the mutex; kept for their storage.
  std::vector<Copy*> victims_, reads_;
  std::vector<cache::Candidate> candidates_;
  std::vector<Place> places_;
  std::vector<Neighbour> neighbours_;
};

}  // namespace spillway::swap
