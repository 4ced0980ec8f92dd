// What the swapper allocates, and when.

#include <algorithm>
#include <atomic>

#include "base/align.h"
#include "base/throw.h"
#include "swap/region.h"
#include "swap/swapper.h"

namespace spillway::swap {
namespace {

constexpr std::int64_t default_tile_bytes = 4 * MiB;  // at the device's ceiling with 3 buffers

std::int64_t tile_bytes_of(const OptimizerOptions& options, const OffloadOptimizerConfig& offload,
                           std::int64_t alignment) {
  const std::int64_t bytes =
      options.tile_bytes.value_or(offload.buffer_size.value_or(default_tile_bytes));
  return bytes < alignment ? bytes : align_down(bytes, alignment);
}

Layout layout_of(const OptimizerOptions& options, const OffloadOptimizerConfig& offload,
                 const store::Store* store) {
  const std::int64_t alignment = store != nullptr ? store->alignment() : page_bytes;
  return Layout(options.states, tile_bytes_of(options, offload, alignment),
                [store](std::int64_t bytes) {
                  return store != nullptr ? store->footprint(bytes) : align_up(bytes, page_bytes);
                });
}

store::Store* store_of(House& house) {
  return house.config().offload_optimizer.device == OffloadDevice::nvme ? &house.optimizer_store()
                                                                        : nullptr;
}

// Swappers of one store write at the same time, so each has spare slots of its own.
int next_owner() {
  static std::atomic<int> last{0};
  return ++last;
}

}  // namespace

void House::check_process() const {
  if (forked())
    throw_error(Errc::forked,
                "this context belongs to another process: a forked child must make its own");
}

Swapper::Swapper(std::shared_ptr<House> house, OptimizerOptions options)
    : house_(std::move(house)),
      options_(std::move(options)),
      offload_(house_->config().offload_optimizer),
      io_(house_->config().io),
      store_(store_of(*house_)),
      no_memory_(Errc::out_of_memory,
                 fmt::format("optimizer \"{}\": the process is out of memory for its books (the "
                             "bytes of committed tiles are kept): free some, then begin the same "
                             "step again",
                             options_.name)),
      buffers_(static_cast<int>(offload_.buffer_count)),
      max_held_(std::max(1, buffers_ - 1)),
      moved_(store_ != nullptr ? &house_->engine() : nullptr),
      table_(layout_of(options_, offload_, store_), store_, offload_.ratio, buffers_,
             options_.whole_parameters, next_owner()),
      most_moving_(most_moving_of(buffers_, table_.layout().tile_bytes())) {}

Swapper::~Swapper() {
  if (pool_region_.data() != nullptr && stats_.memory.registered_bytes > 0)
    house_->engine().remove_memory(pool_region_.span());
  leases_.clear();
  pool_.reset();
  // The space goes back unit by unit; a store that others use lives on.
  for (const TileRecord& tile : table_.tiles())
    if (tile.live && !tile.resident) store_->release(tile.sections, table_.states());
  house_->withdraw(this);
}

bool Swapper::quiesce() noexcept {
  const TimePoint deadline = deadline_in(io_.shutdown_timeout);
  {
    Lock done(scratch_done_mutex_);
    if (!scratch_moved_.wait_until(done, deadline, [&] { return !scratch_in_flight_; }))
      return false;
  }
  Lock lock(mutex_);
  return moved_.wait_until(lock, deadline, [&] {
    return std::all_of(passes_.begin(), passes_.end(),
                       [](const auto& pass) { return pass->settled; }) &&
           std::none_of(leases_.begin(), leases_.end(), [](const auto& lease) {
             return lease->state == LeaseState::reading || lease->state == LeaseState::writing ||
                    lease->state == LeaseState::leased;
           });
  });
}

RegionOptions Swapper::region_options(std::string name, bool pool) const {
  RegionOptions region =
      swap::region_options(io_, offload_.device, offload_.pin_memory, pool, std::move(name));
  if (store_ != nullptr) region.alignment = store_->alignment();
  return region;
}

std::int64_t Swapper::home_bytes(const TileRecord& tile) const {
  std::int64_t sum = 0;
  for (int s = 0; s < table_.states(); ++s) sum += table_.home_bytes(tile, s);
  return align_up(sum, page_bytes);
}

// All or nothing: what is made here is put in place only when the last step has succeeded.
void Swapper::seal() {
  house_->check_process();
  std::lock_guard sealing(seal_mutex_);
  seal_sources();
  PassState* initial = nullptr;
  {
    Lock lock(mutex_);
    if (sealed()) return;
    if (!offload_.fast_init) {  // the pass below must find its units free; nobody else seals now
      retry_failed_writes();
      await_leftovers(lock);
    }
    table_.close_tails();
    const std::size_t first_new = sealed_tiles_;
    store::ExtentMap spare = spare_homes_;
    std::vector<std::byte*> places(table_.tiles().size() - first_new, nullptr);
    std::int64_t homes = 0;  // beyond what removed parameters have left
    bool stored = false, residents = false;
    for (std::size_t t = 0; t < table_.tiles().size(); ++t) {
      const TileRecord& tile = table_.tiles()[t];
      if (!tile.live) continue;
      (tile.resident ? residents : stored) = true;
      if (!tile.resident || t < first_new) continue;
      const std::int64_t bytes = home_bytes(tile);
      if (bytes == 0) continue;  // all of it is adopted
      if (const auto place = spare.take(bytes))
        // An address that remove() put there: the map keeps whole numbers.
        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        places[t - first_new] = reinterpret_cast<std::byte*>(static_cast<std::intptr_t>(*place));
      else
        homes += bytes;
    }
    const bool pool = stored && pool_ == nullptr;

    Claim claim;
    claim.name = options_.name;
    claim.allocated_bytes = pool_region_.report().region_bytes + undo_region_.report().region_bytes;
    claim.pool_bytes = stored || pool_ ? buffers_ * table_.layout().tile_bytes() : 0;
    claim.resident_bytes = homes;
    for (const PinnedRegion& region : homes_) {
      claim.allocated_bytes += region.report().region_bytes;
      claim.resident_bytes += region.report().region_bytes;
    }
    if (options_.undo && residents) claim.pool_bytes += max_held_ * table_.layout().tile_bytes();
    claim.metadata_bytes = table_.metadata_bytes();
    if (offload_.pin_memory && offload_.device != OffloadDevice::none)
      claim.locked_bytes = claim.pool_bytes + claim.resident_bytes;
    house_->admit(this, claim);
    try {
      if (pool) make_pool();
      make_leases(residents);
      make_homes(homes, places);
    } catch (...) {
      if (!sealed_once_) house_->withdraw(this);
      throw;
    }
    spare_homes_ = std::move(spare);
    sealed_tiles_ = table_.tiles().size();
    sealed_once_ = true;
    // With the mutex still held: it must not visit what others add from here on.
    if (!offload_.fast_init) initial = open_initial_values(first_new);
  }
  if (initial != nullptr) write_initial_values(*initial);
}

void Swapper::make_pool() {
  const std::int64_t tile = table_.layout().tile_bytes();
  PinnedRegion region(buffers_ * tile, region_options(options_.name + " pool", true));
  auto pool = std::make_unique<BufferPool>(region.span(), buffers_, tile, options_.name);
  const std::int64_t registered =
      offload_.pin_memory ? house_->engine().add_memory(region.span()) : 0;
  pool_region_ = std::move(region);
  pool_ = std::move(pool);
  stats_.memory.registered_bytes = registered;
}

// One region of `bytes` for the tiles that have become resident since the last seal, but for those
// that have their place already.
void Swapper::make_homes(std::int64_t bytes, std::span<std::byte*> places) {
  homes_.reserve(homes_.size() + 1);
  PinnedRegion region(bytes, region_options(options_.name + " resident share", false));
  std::byte* at = region.data();
  for (std::size_t i = 0; i < places.size(); ++i) {
    TileRecord& tile = table_.tiles()[sealed_tiles_ + i];
    if (!tile.resident || !tile.live) continue;
    tile.home = places[i];
    if (tile.home == nullptr) {
      tile.home = at;
      at += home_bytes(tile);
    }
  }
  if (bytes > 0) homes_.push_back(std::move(region));
}

void Swapper::make_leases(bool residents) {
  const int with_buffers = pool_ != nullptr ? buffers_ : 0;
  const auto count_of = [&](bool resident) {
    return static_cast<int>(std::count_if(leases_.begin(), leases_.end(), [&](const auto& lease) {
      return lease->resident == resident;
    }));
  };
  const auto make = [&](bool resident) {
    auto lease = std::make_unique<Lease>();
    lease->swapper = this;
    lease->index = static_cast<std::int32_t>(leases_.size());
    lease->resident = resident;
    if (!resident) lease->transfer = std::make_unique<store::Transfer>(*store_, table_.states());
    leases_.push_back(std::move(lease));
  };
  while (count_of(false) < with_buffers) make(false);
  if (residents && options_.undo && undo_region_.data() == nullptr)
    undo_region_ = PinnedRegion(max_held_ * table_.layout().tile_bytes(),
                                region_options(options_.name + " undo", false));
  while (residents && count_of(true) < max_held_) {
    make(true);
    if (options_.undo)
      leases_.back()->undo =
          undo_region_.data() + (count_of(true) - 1) * table_.layout().tile_bytes();
  }
  for (auto& lease : leases_) {
    if (lease->touched_size >= table_.max_slices()) continue;
    lease->slices.reserve(table_.max_slices());
    lease->slice_index.reserve(table_.max_slices());
    lease->touched = std::make_unique<std::atomic<std::uint32_t>[]>(table_.max_slices());
    lease->touched_size = table_.max_slices();
  }
}

// Without fast_init every state is on its device from the start, as a run that must not be
// surprised by a first write later wants it: constants, and what comes from parameters.
PassState* Swapper::open_initial_values(std::size_t first_new_tile) {
  Pass request;
  std::vector<std::string> names;
  for (const State& state : table_.layout().states()) names.push_back(state.name);
  request.write = StateNames(names);
  Internal internal;
  internal.first_tile = static_cast<std::uint32_t>(first_new_tile);
  internal.sealing = true;
  return open(request, &internal);
}

void Swapper::write_initial_values(PassState& pass) {
  try {
    while (auto tile = next(pass)) {
      for (const Slice& slice : tile->slices())
        for (const State& state : table_.layout().states())
          slice.raw(state.name, state.dtype, true);  // prepare() has filled them
      tile->commit();
    }
  } catch (...) {
    close(&pass);
    throw;
  }
  close(&pass);
}

bool Swapper::writes_initial_values() const {
  return std::any_of(passes_.begin(), passes_.end(),
                     [](const auto& pass) { return pass->sealing && !pass->settled; });
}

OptimizerStats Swapper::stats() const {
  house_->check_process();
  Lock lock(mutex_);
  OptimizerStats stats = stats_;
  for (const ParamRecord& param : table_.params()) stats.parameters += param.live;
  stats.elements = table_.elements();
  for (const TileRecord& tile : table_.tiles()) {
    stats.tiles += tile.live;
    stats.resident_tiles += tile.live && tile.resident;
  }
  stats.tile_bytes = table_.layout().tile_bytes();
  stats.buffers = pool_ != nullptr ? buffers_ : 0;
  MemoryStats& memory = stats.memory;
  const auto add = [&](const RegionReport& report, std::int64_t& mapped) {
    mapped += report.region_bytes;
    memory.locked_bytes += report.locked_bytes;
  };
  const RegionReport& pool = pool_region_.report();
  add(pool, memory.region_bytes);
  add(undo_region_.report(), memory.resident_share_bytes);
  for (const PinnedRegion& home : homes_) add(home.report(), memory.resident_share_bytes);
  if (offload_.pin_memory) memory.pinned_bytes_requested = pool.requested_bytes;
  memory.pinned_bytes = pool.locked_bytes + pool.cuda_bytes;
  memory.metadata_bytes = table_.metadata_bytes();
  if (pool.region_bytes > 0 && pool.huge_bytes > 0)
    memory.huge_page_share =
        static_cast<double>(pool.huge_bytes) / static_cast<double>(pool.region_bytes);
  return stats;
}

}  // namespace spillway::swap
