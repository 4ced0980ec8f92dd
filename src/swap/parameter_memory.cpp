// What the parameter swapper allocates, and its two budgets: the cache and the pool.

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/throw.h"
#include "swap/parameters.h"
#include "swap/region.h"

namespace spillway::swap {

RegionOptions Parameters::region_options(std::string name, bool pool) const {
  RegionOptions region =
      swap::region_options(io_, offload_.device, offload_.pin_memory, pool, std::move(name));
  region.alignment = alignment_;
  region.prefault = region.prefault && pool;  // the rest fills slowly
  region.setting = pool ? "offload_param.buffer_count or buffer_size" : "offload_param.max_in_cpu";
  return region;
}

void Parameters::seal(Sealed enough) {
  house_->check_process();
  if (sealed_.load(std::memory_order_acquire) >= enough) return;
  const std::lock_guard table(table_mutex_);
  seal_table(enough);
}

// All or nothing: what is made here is put in place only when the last step has succeeded. Under
// table_mutex_; the other one is free while memory is made and registered.
void Parameters::seal_table(Sealed enough) {
  if (sealed_.load(std::memory_order_acquire) >= enough) return;
  Claim claim;
  std::int64_t more_cache = 0, homes = 0;
  bool make_pool = false, first = false;
  {
    Lock lock(mutex_);
    first = pool_ == nullptr && homes_.empty() && cache_regions_.empty();
    claim.name = options_.name;
    claim.metadata_bytes = metadata_bytes();
    claim.allocated_bytes = pool_region_.report().region_bytes;
    claim.cache_bytes = arena_.total_bytes();
    claim.allocated_bytes += claim.cache_bytes;
    for (const PinnedRegion& region : homes_) {
      claim.resident_bytes += region.report().region_bytes;
      claim.allocated_bytes += region.report().region_bytes;
    }
    if (volume_ != nullptr) {
      make_pool = pool_ == nullptr && footprints_ > 0;
      if (make_pool || pool_ != nullptr) claim.pool_bytes = pool_budget();
      // The cap is in elements, of whatever width; each cached parameter ends on the alignment.
      const std::int64_t cap = std::min(offload_.max_in_cpu, elements_) * width(widest_);
      const std::int64_t ends =
          std::min(live_ * alignment_, std::max<std::int64_t>(2 * MiB, cap / 64));
      const std::int64_t wanted = cap == 0 || enough != Sealed::all
                                      ? 0
                                      : std::min(footprints_, align_up(cap, alignment_) + ends);
      more_cache = std::max<std::int64_t>(0, wanted - arena_.total_bytes());
      claim.cache_bytes += more_cache;
    } else {
      take_spare_homes();
      std::erase_if(homeless_, [this](std::uint32_t index) { return !needs_home(index); });
      for (const std::uint32_t index : homeless_)
        homes += footprint(tensors_[index], all(tensors_[index]));
      claim.resident_bytes += homes;
      if (pool_ != nullptr) claim.pool_bytes = pool_budget();
    }
    if (offload_.pin_memory && offload_.device != OffloadDevice::none)
      claim.locked_bytes = claim.pool_bytes + claim.cache_bytes + claim.resident_bytes;
  }
  house_->admit(this, claim);
  try {
    if (make_pool) {
      PinnedRegion region = pool_memory();
      std::unique_ptr<BufferPool> pool = pool_over(region);
      const std::int64_t registered =
          offload_.pin_memory ? house_->engine().add_memory(region.span()) : 0;
      Lock lock(mutex_);
      registered_ += registered;
      pool_region_ = std::move(region);
      pool_ = std::move(pool);
    }
    if (more_cache > 0) {
      {
        Lock lock(mutex_);  // stats() looks at them
        cache_regions_.reserve(cache_regions_.size() + 1);
      }
      PinnedRegion region(more_cache, region_options(options_.name + " cache", false));
      const std::int64_t registered =
          offload_.pin_memory ? house_->engine().add_memory(region.span()) : 0;
      Lock lock(mutex_);
      try {
        arena_.add_region(region.span());
      } catch (...) {
        lock.unlock();
        if (registered > 0) house_->engine().remove_memory(region.span());
        throw;
      }
      registered_ += registered;
      cache_regions_.push_back(std::move(region));
    }
    if (homes > 0) make_homes(homes);
  } catch (...) {
    if (first) house_->withdraw(this);
    throw;
  }
  if (volume_ != nullptr) volume_->trim();
  start_checker();
  {
    Lock lock(mutex_);
    homeless_.clear();
  }
  sealed_.store(enough, std::memory_order_release);
}

bool Parameters::needs_home(std::uint32_t index) const {
  const Tensor& tensor = tensors_[index];
  return volume_ == nullptr && tensor.live && tensor.home == nullptr && tensor.elements > 0;
}

// What removed parameters have left serves first, or adding and removing would take ever more.
// With the mutex.
void Parameters::take_spare_homes() {
  if (spare_homes_.ranges() == 0) return;
  for (const std::uint32_t index : homeless_) {
    if (!needs_home(index)) continue;
    Tensor& tensor = tensors_[index];
    const std::int64_t need = footprint(tensor, all(tensor));
    const auto spare = spare_homes_.take(need);
    if (!spare) continue;
    // An address that remove() put there: the map keeps whole numbers.
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    tensor.home = reinterpret_cast<std::byte*>(static_cast<std::intptr_t>(*spare));
    std::memset(tensor.home, 0, static_cast<std::size_t>(need));
  }
}

// For those that still need one: `bytes` is what they take together.
void Parameters::make_homes(std::int64_t bytes) {
  {
    Lock lock(mutex_);  // stats() looks at them
    homes_.reserve(homes_.size() + 1);
  }
  PinnedRegion region(bytes, region_options(options_.name + " home", false));
  Lock lock(mutex_);
  std::byte* at = region.data();
  for (const std::uint32_t index : homeless_) {
    tensors_[index].home = at;
    at += footprint(tensors_[index], all(tensors_[index]));
  }
  homes_.push_back(std::move(region));
}

PinnedRegion Parameters::pool_memory() const {
  return {BufferPool::region_bytes(offload_.buffer_count, offload_.buffer_size, alignment_),
          region_options(options_.name + " pool", true)};
}

// Parameters are of all sizes, and what each loses at its end is lost to what can be read ahead: a
// GPT-2 layer of 24 MiB, piece by piece, takes 34 MiB in granules of 2 MiB. But finding room walks
// the free ones, so that there are no more than some thousands.
std::unique_ptr<BufferPool> Parameters::pool_over(const PinnedRegion& region) const {
  constexpr std::int64_t granules = 2048;
  const auto fair = static_cast<std::uint64_t>(pool_budget() / granules);
  const auto granule = static_cast<std::int64_t>(std::bit_ceil(fair));
  return std::make_unique<BufferPool>(region.span(), offload_.buffer_count, offload_.buffer_size,
                                      options_.name, alignment_,
                                      std::clamp(granule, 64 * KiB, huge_page_bytes));
}

// Devices none and cpu need a pool only for leases that change something.
void Parameters::ensure_pool() {
  if (pool_ != nullptr || pool_budget() == 0) return;
  Claim claim;
  claim.name = options_.name;
  claim.pool_bytes = pool_budget();
  for (const PinnedRegion& region : homes_) claim.resident_bytes += region.report().region_bytes;
  claim.metadata_bytes = metadata_bytes();
  claim.allocated_bytes = claim.resident_bytes;
  if (offload_.pin_memory && offload_.device == OffloadDevice::cpu)
    claim.locked_bytes = claim.pool_bytes + claim.resident_bytes;
  house_->admit(this, claim);
  PinnedRegion region = pool_memory();
  pool_ = pool_over(region);
  pool_region_ = std::move(region);
}

// ---- the cache

// Asks the policy, and finds room. `when`: the use that it is for, 0: now. With `in` the tensor
// has its copy, not read yet; with `cleaning` victims are being written, and it is to ask again.
Parameters::Admission Parameters::admit(Tensor& tensor, cache::Time when, Price price) {
  if (volume_ == nullptr || cache_.cap() == 0 || tensor.elements > cache_.cap())
    return Admission::refused;
  for (const Part* part = tensor.parts; part != nullptr; part = part->next)
    if (part->exclusive) return Admission::refused;
  spare_copies(1);
  const std::int64_t need = footprint(tensor, all(tensor));
  const cache::Verdict verdict = price == Price::any ? cache_.reserve_at_any_price(tensor.id)
                                 : when == 0         ? cache_.reserve(tensor.id)
                                                     : cache_.reserve_ahead(tensor.id, when);
  if (!verdict.admit) return Admission::refused;
  bool clean = true;
  victims_.clear();
  try {
    victims_.reserve(verdict.victims.size());
  } catch (...) {
    cache_.cancel(tensor.id);
    throw;
  }
  for (const cache::TensorId victim : verdict.victims) {
    victims_.push_back(tensors_[victim].cached);
    clean = clean && victims_.back()->dirty.empty();
  }
  if (!clean) {
    cache_.cancel(tensor.id);
    // A write pins its copy, so that the next attempt finds it clean or chooses another victim.
    for (Copy* victim : victims_) clean_or_start(*victim);
    return Admission::cleaning;
  }
  for (Copy* victim : victims_) {
    drop_cached(*victim);
    ++stats_.evictions;
  }
  std::byte* data = nullptr;
  try {
    data = cache_room(need);
    // Each ends on the alignment: many small ones take more than their elements.
    while (data == nullptr && price == Price::any) {
      const auto victim = cache_.least_useful();
      if (!victim) break;
      Copy& copy = *tensors_[*victim].cached;
      if (!clean_or_start(copy)) {
        cache_.cancel(tensor.id);
        return Admission::cleaning;
      }
      drop_cached(copy);
      ++stats_.evictions;
      data = cache_room(need);
    }
  } catch (...) {
    cache_.cancel(tensor.id);
    throw;
  }
  if (data == nullptr) {
    cache_.cancel(tensor.id);
    return Admission::refused;
  }
  SPILLWAY_CHECK(cache_.commit(tensor.id), "nobody came between reservation and commit");
  Copy* const copy = new_copy(tensor, all(tensor), data, nullptr);
  arena_.own(data, copy);
  tensor.cached = copy;
  stats_.peak_cached_elements = std::max(stats_.peak_cached_elements, cache_.used());
  stats_.peak_cached_bytes = std::max(stats_.peak_cached_bytes, arena_.used_bytes());
  return Admission::in;
}

// Whether it could go now; else it is written, so that it can.
bool Parameters::clean_or_start(Copy& copy) {
  if (copy.dirty.empty()) return !copy.writing;
  if (!copy.writing) {
    copy.attempts = 0;
    start_write(copy);
  }
  return false;
}

// One run of the cache's memory, for which others may move together; null where that is not enough.
std::byte* Parameters::cache_room(std::int64_t bytes) {
  if (std::byte* const data = arena_.take(bytes, nullptr)) return data;
  const bool room = arena_.make_room(
      bytes,
      [](Arena::Owner owner) {
        const Copy& copy = *static_cast<Copy*>(owner);
        return copy.users == 0 || copy.movable;
      },
      [this](Arena::Owner owner, std::byte* to) {
        static_cast<Copy*>(owner)->data = to;
        ++stats_.moves;
      });
  return room ? arena_.take(bytes, nullptr) : nullptr;
}

// Requires: nobody uses it, and it is clean or not wanted.
void Parameters::drop_cached(Copy& copy) {
  Tensor& tensor = *copy.tensor;
  SPILLWAY_CHECK(tensor.cached == &copy && copy.users == 0, "what is dropped is not used");
  tensor.cached = nullptr;
  arena_.give(copy.data);
  cache_.drop(tensor.id);
  // It was passed over because it was here.
  ahead_ = std::min(ahead_, cache_.forecast().next_use(tensor.id));
  put_back(copy);
}

// ---- the pool

// When what a run holds is needed next; the larger, the less is it worth. 1: soon, as far as one
// can know.
cache::Time Parameters::worth(const PoolRun& run) const {
  if (run.wanted) return 1;
  if (!cache_.forecast().known()) return cache::never - 1 - run.last_use;
  cache::Time soonest = cache::never;
  for (const Copy* copy : run.members)  // of an order's accesses only a whole copy can serve
    if (!copy->gone && copy->blocks == all(*copy->tensor))
      soonest = std::min(soonest, cache_.forecast().next_use(copy->tensor->id));
  return soonest;
}

PoolRun* Parameters::least_useful() {
  PoolRun* least = nullptr;
  cache::Time furthest = 0;
  for (auto& run : runs_) {
    if (run->members.empty() || !run->idle()) continue;
    const cache::Time when = worth(*run);
    if (when <= furthest) continue;
    furthest = when;
    least = run.get();
  }
  return least;
}

void Parameters::revoke(PoolRun& run) noexcept {
  ahead_ = 0;  // what was passed over because it was here is not any more
  while (!run.members.empty()) free_copy(*run.members.back());
}

// A run of what is free in the pool, for so many copies.
PoolRun* Parameters::free_run(std::int64_t bytes, std::string_view holder, std::size_t copies) {
  if (free_runs_.empty()) {
    free_runs_.reserve(runs_.size() + 1);
    runs_.push_back(std::make_unique<PoolRun>());
    free_runs_.push_back(runs_.back().get());
  }
  PoolRun* const run = free_runs_.back();
  run->members.reserve(copies);
  auto memory = pool_->try_acquire(bytes, holder);
  if (!memory) return nullptr;
  free_runs_.pop_back();
  run->memory = std::move(*memory);
  run->last_use = ++uses_;
  run->wanted = false;
  return run;
}

// The same, for which clean copies go that nobody uses, and none that is needed before
// `keep_before` (0: any). Null, with all as it was, where that is not enough.
PoolRun* Parameters::take_run(std::int64_t bytes, std::string_view holder, std::size_t copies,
                              cache::Time keep_before) {
  if (pool_ == nullptr || bytes > pool_->budget_bytes()) return nullptr;
  for (;;) {
    if (PoolRun* const run = free_run(bytes, holder, copies)) return run;
    if (!clear_row(bytes, keep_before)) return nullptr;
  }
}

// Makes room for so many bytes in a row, where the first copy that will be missed is missed last,
// and little goes with it: chosen one by one, copies would go that help nobody.
bool Parameters::clear_row(std::int64_t bytes, cache::Time keep_before) {
  list_neighbours();
  for (Neighbour& neighbour : neighbours_)
    if (neighbour.when != 0) neighbour.when = worth(*neighbour.run);
  const std::span all = neighbours_;
  const auto begin_of = [&](std::size_t i) {
    return i < all.size() ? all[i].at : pool_->budget_bytes();
  };
  std::span<const Neighbour> best;
  cache::Time furthest = keep_before;
  std::int64_t least = 0;
  std::size_t last = 0;  // behind the row, which begins where the neighbour before `first` ends
  for (std::size_t first = 0; first < all.size(); ++first) {
    const std::int64_t from = first == 0 ? 0 : all[first - 1].end;
    last = std::max(last, first);
    while (last < all.size() && begin_of(last) - from < bytes) ++last;
    if (begin_of(last) - from < bytes) break;
    const auto row = all.subspan(first, last - first);
    if (row.empty()) continue;
    cache::Time when = cache::never;
    std::int64_t goes = 0;
    for (const Neighbour& neighbour : row) {
      when = std::min(when, neighbour.when);
      goes += neighbour.end - neighbour.at;
    }
    if (when < furthest || (when == furthest && goes >= least)) continue;
    furthest = when;
    least = goes;
    best = row;
  }
  for (const Neighbour& neighbour : best) revoke(*neighbour.run);
  return !best.empty();
}

// What lies in the pool, in the order of addresses; not yet, when it is needed.
void Parameters::list_neighbours() {
  neighbours_.clear();
  for (const auto& run : runs_) {
    if (!run->memory) continue;
    const std::int64_t at = run->memory.data() - pool_region_.data();
    const bool free = !run->members.empty() && run->idle();
    neighbours_.push_back({at, at + align_up(run->memory.bytes(), pool_->granule_bytes()),
                           free ? cache::never : 0, run.get()});
  }
  std::ranges::sort(neighbours_, {}, &Neighbour::at);
}

// Room for what places_ asks for, `total` bytes: in one run, or, where the free parts of the pool
// are too small for that, in a run for each, unless the largest parameter could then find no room
// beside them. So a copy that was read ahead does not go, to be read again, while there is room.
bool Parameters::take_room(const Hold& hold, std::int64_t total) {
  const auto wants_room = [](const Place& place) { return place.at >= 0; };
  const auto wanted = std::count_if(places_.begin(), places_.end(), wants_room);
  const std::string& holder = hold.parts.front().tensor->name;
  for (;;) {
    if (PoolRun* const run = free_run(total, holder, static_cast<std::size_t>(wanted))) {
      for (Place& place : places_)
        if (wants_room(place)) place.run = run;
      return true;
    }
    if (wanted > 1 && take_runs(hold, total)) return true;
    PoolRun* const victim = least_useful();
    if (victim == nullptr) return false;
    revoke(*victim);
  }
}

bool Parameters::take_runs(const Hold& hold, std::int64_t total) {
  const std::int64_t before = contiguous_room();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const Part& part = hold.parts[i];
    Place& place = places_[i];
    if (place.at < 0) continue;
    place.run = free_run(footprint(*part.tensor, part.blocks), part.tensor->name, 1);
    if (place.run == nullptr) {
      give_places();
      return false;
    }
  }
  if (contiguous_room() < std::min(largest_, before - total)) {
    give_places();
    return false;
  }
  for (Place& place : places_) place.at = std::min<std::int64_t>(place.at, 0);
  return true;
}

// [bytes] of the longest run that the pool could give if all copies went that nobody uses.
std::int64_t Parameters::contiguous_room() {
  list_neighbours();
  std::int64_t longest = 0, end = 0;
  for (const Neighbour& neighbour : neighbours_) {
    if (neighbour.when != 0) continue;
    longest = std::max(longest, neighbour.at - end);
    end = neighbour.end;
  }
  return std::max(longest, pool_->budget_bytes() - end);
}

void Parameters::give_places() noexcept {
  PoolRun* last = nullptr;  // several in a row may share one
  for (Place& place : places_) {
    if (place.run != nullptr && place.run != last) give(last = place.run);
    place.run = nullptr;
  }
}

void Parameters::give(PoolRun* run) noexcept {
  run->memory.release();
  free_runs_.push_back(run);  // has room: as many as there are runs
}

// ---- copies

// Makes sure that so many can be had, and given back, without an allocation.
void Parameters::spare_copies(std::size_t count) {
  while (free_copies_.size() < count) {
    if (free_copies_.capacity() <= copies_.size()) free_copies_.reserve(2 * copies_.size() + 16);
    copies_.push_back(std::make_unique<Copy>());
    free_copies_.push_back(copies_.back().get());
  }
}

Copy* Parameters::new_copy(Tensor& tensor, const Blocks& blocks, std::byte* data, PoolRun* run) {
  spare_copies(1);
  if (run != nullptr && run->members.size() == run->members.capacity())
    run->members.reserve(2 * run->members.size() + 4);
  Copy* const copy = free_copies_.back();
  free_copies_.pop_back();
  *copy = Copy();
  copy->tensor = &tensor;
  copy->blocks = blocks;
  copy->data = data;
  copy->run = run;
  if (run != nullptr) run->members.push_back(copy);
  return copy;
}

void Parameters::link(Copy& copy) {
  copy.next = copy.tensor->copies;
  copy.tensor->copies = &copy;
}

void Parameters::unlink(Copy& copy) noexcept {
  for (Copy** at = &copy.tensor->copies; *at != nullptr; at = &(*at)->next)
    if (*at == &copy) {
      *at = copy.next;
      copy.next = nullptr;
      return;
    }
}

// Of the pool. Requires: nobody uses it.
void Parameters::free_copy(Copy& copy) noexcept {
  SPILLWAY_CHECK(copy.users == 0 && copy.run != nullptr, "what is freed is not used");
  unlink(copy);
  PoolRun* const run = copy.run;
  std::erase(run->members, &copy);
  put_back(copy);
  if (run->members.empty()) give(run);
}

void Parameters::put_back(Copy& copy) noexcept {
  set_dirty(copy, {});
  set_failed(copy, false);
  end_ahead(copy);
  copy = Copy();
  free_copies_.push_back(&copy);
}

// ---- what of copies is counted

void Parameters::set_dirty(Copy& copy, const Blocks& dirty) noexcept {
  if (dirty == copy.dirty) return;
  stats_.unwritten_bytes += bytes(*copy.tensor, dirty) - bytes(*copy.tensor, copy.dirty);
  copy.dirty = dirty;
}

void Parameters::set_failed(Copy& copy, bool failed) noexcept {
  failed_ += static_cast<int>(failed) - static_cast<int>(copy.failed);
  copy.failed = failed;
}

// It is here, as large as it is now.
void Parameters::count_ahead(Copy& copy) noexcept {
  count_ahead(copy, footprint(*copy.tensor, copy.blocks));
}

// So much of it is here. What was not read ahead does not count.
void Parameters::count_ahead(Copy& copy, std::int64_t now) noexcept {
  if (!copy.ahead) return;
  stats_.bytes_read_ahead += now - copy.waiting;
  copy.waiting = now;
}

void Parameters::end_ahead(Copy& copy) noexcept {
  stats_.bytes_read_ahead -= copy.waiting;
  copy.waiting = 0;
  copy.ahead = false;
}

void Parameters::use(Copy& copy) noexcept {
  if (copy.users++ == 0 && copy.run == nullptr) cache_.pin(copy.tensor->id);
}

void Parameters::unuse(Copy& copy) noexcept {
  SPILLWAY_CHECK(copy.users > 0, "a use ends once");
  if (--copy.users > 0) return;
  if (copy.run == nullptr) {
    cache_.unpin(copy.tensor->id);
    if (copy.read_failed()) drop_cached(copy);  // could not be read
  } else if (copy.gone || copy.error) {
    free_copy(copy);
  }
}

}  // namespace spillway::swap
