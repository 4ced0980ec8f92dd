// The table of parameters, and the calls that change it.

#include "swap/parameters.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/log.h"
#include "base/throw.h"

namespace spillway::swap {
namespace {

store::Volume* volume_of(House& house) {
  return house.config().offload_param.device == OffloadDevice::nvme ? &house.parameter_volume()
                                                                    : nullptr;
}

// So that the next push_back allocates nothing.
void reserve_one_more(std::vector<std::uint32_t>& list) {
  if (list.size() == list.capacity()) list.reserve(std::max<std::size_t>(4, list.size() * 2));
}

}  // namespace

Parameters::Parameters(std::shared_ptr<House> house, ParameterSwapperOptions options)
    : house_(std::move(house)),
      options_(std::move(options)),
      offload_(house_->config().offload_param),
      io_(house_->config().io),
      volume_(volume_of(*house_)),
      no_memory_(Errc::out_of_memory,
                 fmt::format("\"{}\": the process is out of memory for its books (the bytes of "
                             "committed parameters are kept): free some, then try again",
                             options_.name)),
      timeout_(options_.timeout.value_or(io_.timeout)),
      alignment_(volume_ != nullptr ? volume_->alignment() : page_bytes),
      // A block of u8 elements still begins and ends on the alignment.
      block_(alignment_),
      piece_bytes_(std::clamp(pool_budget() / 16, 64 * KiB, 8 * MiB)),
      cache_(volume_ != nullptr ? offload_.max_in_cpu : 0) {
  units_.push_back({"default", {}});
}

Parameters::~Parameters() {
  stop_checker();
  if (registered_ > 0) {
    if (pool_region_.data() != nullptr) house_->engine().remove_memory(pool_region_.span());
    for (const PinnedRegion& region : cache_regions_) house_->engine().remove_memory(region.span());
  }
  for (auto& run : runs_) run->memory.release();
  pool_.reset();
  if (volume_ != nullptr)
    for (const Tensor& tensor : tensors_)
      if (tensor.live && tensor.address >= 0)
        volume_->release(tensor.address, footprint(tensor, all(tensor)));
  house_->withdraw(this);
}

// ---- sizes

std::int64_t Parameters::blocks_of(std::int64_t elements) const {
  return divide_up(elements, block_);
}

Blocks Parameters::all(const Tensor& tensor) const { return {0, blocks_of(tensor.elements)}; }

std::int64_t Parameters::bytes(const Tensor& tensor, const Blocks& blocks) const {
  const std::int64_t end = std::min(tensor.elements, blocks.last * block_);
  return (end - blocks.first * block_) * width(tensor.dtype);
}

std::int64_t Parameters::footprint(const Tensor& tensor, const Blocks& blocks) const {
  if (blocks.empty()) return 0;
  return align_up(bytes(tensor, blocks), alignment_);
}

std::byte* Parameters::at(const Copy& copy, std::int64_t block) const {
  return copy.data + (block - copy.blocks.first) * block_bytes(*copy.tensor);
}

// ---- looking up

Tensor& Parameters::tensor(ParamId id) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= tensors_.size())
    throw_error(Errc::invalid_argument, "\"{}\": no parameter has the id {}: {} were added",
                options_.name, index, tensors_.size());
  Tensor& found = tensors_[index];
  if (!found.live)
    throw_error(Errc::invalid_argument, "\"{}\": parameter \"{}\" (id {}) was removed",
                options_.name, found.name, index);
  return found;
}

Parameters::Unit& Parameters::unit(UnitId id) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= units_.size())
    throw_error(Errc::invalid_argument, "\"{}\": no unit has the id {}: {} were added",
                options_.name, index, units_.size() - 1);
  return units_[index];
}

void Parameters::check_range(const Tensor& tensor, Range& range) const {
  if (range.count == Range::whole && range.offset >= 0 && range.offset <= tensor.elements)
    range.count = tensor.elements - range.offset;
  if (range.offset < 0 || range.count < 0 || range.offset > tensor.elements ||
      range.count > tensor.elements - range.offset)
    throw_error(Errc::invalid_argument,
                "\"{}\": parameter \"{}\" has {} elements; [{}, {} + {}) is outside", options_.name,
                tensor.name, tensor.elements, range.offset, range.offset, range.count);
}

const std::string& Parameters::name(ParamId id) {
  house_->check_process();
  Lock lock(mutex_);
  return tensor(id).name;
}

std::int64_t Parameters::elements(ParamId id) {
  house_->check_process();
  Lock lock(mutex_);
  return tensor(id).elements;
}

DType Parameters::dtype(ParamId id) {
  house_->check_process();
  Lock lock(mutex_);
  return tensor(id).dtype;
}

void Parameters::check_dtype(ParamId id, DType dtype) {
  house_->check_process();
  Lock lock(mutex_);
  const Tensor& found = tensor(id);
  if (found.dtype != dtype)
    throw_error(Errc::invalid_argument, "\"{}\": parameter \"{}\" is {}, not {}", options_.name,
                found.name, to_string(found.dtype), to_string(dtype));
}

// ---- adding and removing

UnitId Parameters::add_unit(std::string name) {
  house_->check_process();
  Lock lock(mutex_);
  if (units_.size() >= UINT32_MAX) throw_error(Errc::invalid_argument, "too many units");
  units_.push_back({std::move(name), {}});
  return static_cast<UnitId>(units_.size() - 1);
}

ParamId Parameters::add(std::string name, std::int64_t elements, DType dtype,
                        const TensorOptions& options) {
  house_->check_process();
  const std::lock_guard table(table_mutex_);
  std::string unit_name;
  {
    Lock lock(mutex_);
    unit_name = unit(options.unit).name;
    if (tensors_.size() >= UINT32_MAX - 1)
      throw_error(Errc::invalid_argument, "\"{}\": too many parameters", options_.name);
  }
  if (elements < 0 || elements > (std::int64_t{1} << 52))
    throw_error(Errc::invalid_argument, "parameter \"{}\" has {} elements: 0 to 2^52 are possible",
                name, elements);
  const std::int64_t size = elements * width(dtype);
  const auto must_fit = [&](std::size_t bytes, const char* what) {
    if (static_cast<std::int64_t>(bytes) != size)
      throw_error(Errc::invalid_argument, "parameter \"{}\": {} {} bytes and needs {}", name, what,
                  bytes, size);
  };
  if (!options.init.empty()) must_fit(options.init.size(), "init gives");
  if (!options.adopt.empty()) {
    must_fit(options.adopt.size(), "adopts");
    if (volume_ != nullptr)
      throw_error(Errc::invalid_argument,
                  "parameter \"{}\" adopts memory, which only devices none and cpu can do", name);
  }

  Tensor fresh;
  fresh.name = std::move(name);
  fresh.elements = elements;
  fresh.tag = options.tag;
  fresh.unit = options.unit;
  fresh.dtype = dtype;
  fresh.adopted = !options.adopt.empty();
  fresh.home = options.adopt.data();
  const Blocks blocks = all(fresh);
  const std::int64_t space = footprint(fresh, blocks);
  if (volume_ != nullptr && space > 0) {
    if (blocks.count() > 1)
      fresh.many_seals =
          std::make_unique<std::uint64_t[]>(static_cast<std::size_t>(blocks.count()));
    try {
      // On the I/O thread, which must not find the mutex taken.
      fresh.address = volume_->add(space);
    } catch (const Error& error) {
      throw_error(error.code(), "parameter \"{}\" of unit \"{}\" cannot be added: {}", fresh.name,
                  unit_name, error.what());
    }
  }
  ParamId id{};
  const std::int64_t address = fresh.address;
  try {
    Lock lock(mutex_);
    fresh.id = static_cast<std::uint32_t>(tensors_.size());
    // It may have to be taken back when there is no memory; a place that is cut takes one.
    if (!options.init.empty()) spare_homes_.reserve(2);
    Unit& home = unit(options.unit);
    reserve_one_more(home.tensors);
    if (volume_ == nullptr) reserve_one_more(homeless_);
    if (volume_ != nullptr && elements > 0) cache_.add(fresh.id, elements, options.keep);
    try {
      tensors_.push_back(std::move(fresh));
    } catch (...) {
      if (volume_ != nullptr && elements > 0)
        cache_.remove(static_cast<std::uint32_t>(tensors_.size()));
      throw;
    }
    const Tensor& added = tensors_.back();
    home.tensors.push_back(added.id);
    if (needs_home(added.id)) homeless_.push_back(added.id);
    id = static_cast<ParamId>(added.id);
    elements_ += elements;
    ++live_;
    footprints_ += space;
    largest_ = std::max(largest_, space);
    if (width(dtype) > width(widest_)) widest_ = dtype;
    sealed_.store(Sealed::no, std::memory_order_release);
  } catch (...) {
    if (address >= 0) volume_->release(address, space);
    throw;
  }
  if (!options.init.empty()) write_initial(id, options.init);
  return id;
}

// Under table_mutex_.
void Parameters::write_initial(ParamId id, std::span<const std::byte> values) {
  try {
    seal_table(Sealed::without_cache);
    Tensor* fresh = nullptr;
    {
      Lock lock(mutex_);
      fresh = &tensor(id);
    }
    if (fresh->home != nullptr) {
      std::memcpy(fresh->home, values.data(), values.size());
      return;
    }
    const std::int64_t step = copy_step(*fresh);
    for (std::int64_t from = 0; from < fresh->elements; from += step) {
      const Range part{from, std::min(step, fresh->elements - from)};
      Lease lease = fetch(id, Access::overwrite, part);
      const std::span<std::byte> to = lease.tensors()[0].raw_mutable();
      std::memcpy(to.data(), values.data() + from * width(fresh->dtype), to.size());
      lease.commit();
    }
  } catch (...) {
    const std::exception_ptr trouble = std::current_exception();
    try {
      remove_tensor(id);
    } catch (const std::exception& error) {
      log::warning("\"{}\": parameter {} could not be taken back: {}", options_.name,
                   static_cast<std::uint32_t>(id), error.what());
    }
    std::rethrow_exception(trouble);
  }
}

// [elements] that copies through the pool take at a time: whole blocks, a part of the pool.
std::int64_t Parameters::copy_step(const Tensor& tensor) const {
  constexpr std::int64_t enough = 4 * MiB;
  const std::int64_t budget = offload_.buffer_count * offload_.buffer_size;
  const std::int64_t bytes = std::min(enough, budget / 2);
  return std::max<std::int64_t>(1, bytes / block_bytes(tensor)) * block_;
}

void Parameters::remove(ParamId id) {
  house_->check_process();
  poll_fences();
  const std::lock_guard table(table_mutex_);
  remove_tensor(id);
}

void Parameters::remove_tensor(ParamId id) {
  std::int64_t address = -1, space = 0;
  {
    Lock lock(mutex_);
    Tensor& gone = tensor(id);
    const auto idle = [&] {
      if (gone.cached != nullptr && gone.cached->users > (gone.cached->failed ? 1 : 0))
        return false;
      for (const Copy* copy = gone.copies; copy != nullptr; copy = copy->next)
        if (copy->users > (copy->failed ? 1 : 0)) return false;
      return true;
    };
    const TimePoint deadline = deadline_in(timeout_);
    while (gone.parts == nullptr && !idle())
      if (moved_.wait_until(lock, deadline) == std::cv_status::timeout) break;
    if (gone.parts != nullptr || !idle())
      throw_error(Errc::busy,
                  "\"{}\": parameter \"{}\" is leased or being moved: give its leases "
                  "back before it is removed",
                  options_.name, gone.name);
    spare_homes_.reserve(1);  // nothing may fail behind this
    while (gone.copies != nullptr) {
      Copy& copy = *gone.copies;
      copy.gone = true;
      if (copy.users > 0)
        unuse(copy);  // of a write that failed: its bytes are not wanted any more
      else
        free_copy(copy);
    }
    if (gone.cached != nullptr) {
      Copy& copy = *gone.cached;
      set_dirty(copy, {});
      if (copy.failed) {
        set_failed(copy, false);
        copy.error.reset();  // with it, the end of its last use would drop it
        unuse(copy);
      }
      drop_cached(copy);
    }
    if (volume_ != nullptr && gone.elements > 0) cache_.remove(gone.id);
    gone.live = false;
    leave_unit(gone);
    space = footprint(gone, all(gone));
    address = std::exchange(gone.address, -1);
    gone.many_seals.reset();
    elements_ -= gone.elements;
    --live_;
    footprints_ -= space;
    if (gone.home != nullptr && !gone.adopted && space > 0)
      spare_homes_.insert(static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(gone.home)),
                          space);
    gone.home = nullptr;
    moved_.notify_all();
  }
  if (address >= 0) volume_->release(address, space);
}

// It is not live any more.
void Parameters::leave_unit(const Tensor& tensor) noexcept {
  Unit& unit = units_[static_cast<std::size_t>(tensor.unit)];
  if (2 * ++unit.removed < unit.tensors.size()) return;
  std::erase_if(unit.tensors, [this](std::uint32_t index) { return !tensors_[index].live; });
  unit.removed = 0;
}

// ---- small calls

Residence Parameters::where(ParamId id) {
  house_->check_process();
  Lock lock(mutex_);
  const Tensor& found = tensor(id);
  if (found.home != nullptr || found.elements == 0) return Residence::memory;
  if (volume_ == nullptr) return Residence::nowhere;  // not sealed yet
  if (found.cached != nullptr)
    return found.cached->coming() ? Residence::coming : Residence::memory;
  for (const Copy* copy = found.copies; copy != nullptr; copy = copy->next)
    if (!copy->gone && !copy->error) return copy->coming() ? Residence::coming : Residence::buffers;
  for (const Part* part = found.parts; part != nullptr; part = part->next)
    if (part->own != nullptr) return Residence::buffers;
  return found.written ? Residence::store : Residence::nowhere;
}

void Parameters::begin_pass(std::string_view name) {
  Lock lock = lock_sealed(Sealed::without_cache);
  cache_.begin_pass(name);
  run_ahead();
}

ParameterStats Parameters::stats() {
  house_->check_process();
  Lock lock(mutex_);
  ParameterStats stats = stats_;
  stats.parameters = live_;
  stats.elements = elements_;
  stats.cached_elements = cache_.used();
  stats.cached_bytes = arena_.used_bytes();
  if (pool_ != nullptr) {
    const PoolStats pool = pool_->stats();
    stats.pool_bytes = pool.leased_bytes;
    stats.peak_pool_bytes = pool.peak_bytes;
  }
  MemoryStats& memory = stats.memory;
  const RegionReport& pool = pool_region_.report();
  memory.region_bytes = pool.region_bytes;
  memory.locked_bytes = pool.locked_bytes;
  for (const PinnedRegion& region : cache_regions_) {
    stats.cache_region_bytes += region.report().region_bytes;
    memory.locked_bytes += region.report().locked_bytes;
  }
  for (const PinnedRegion& region : homes_) {
    memory.resident_share_bytes += region.report().region_bytes;
    memory.locked_bytes += region.report().locked_bytes;
  }
  if (offload_.pin_memory) memory.pinned_bytes_requested = pool.requested_bytes;
  memory.pinned_bytes = pool.locked_bytes + pool.cuda_bytes;
  memory.registered_bytes = registered_;
  memory.metadata_bytes = metadata_bytes();
  if (pool.region_bytes > 0 && pool.huge_bytes > 0)
    memory.huge_page_share =
        static_cast<double>(pool.huge_bytes) / static_cast<double>(pool.region_bytes);
  return stats;
}

std::int64_t Parameters::metadata_bytes() const {
  std::size_t sum = tensors_.size() * (sizeof(Tensor) + sizeof(std::uint32_t)) +
                    units_.capacity() * sizeof(Unit) + cache_.heap_bytes();
  if (volume_ != nullptr)
    sum += static_cast<std::size_t>(divide_up(footprints_, block_)) * sizeof(std::uint64_t);
  return static_cast<std::int64_t>(sum);
}

bool Parameters::quiesce() noexcept {
  const TimePoint deadline = deadline_in(io_.shutdown_timeout);
  for (;;) {
    poll_fences();
    Lock lock(mutex_);
    const bool only_fences = holds_out_ == fenced_count_.load();
    if (trips_under_way_ == 0 && holds_out_ == 0) return true;
    if (trips_under_way_ == 0 && !only_fences) break;  // nobody is going to bring those back
    const TimePoint now = Clock::now();
    if (now >= deadline) break;
    moved_.wait_until(lock, std::min(deadline, now + std::chrono::milliseconds(1)));
  }
  Lock lock(mutex_);
  for (const Tensor& tensor : tensors_)
    if (tensor.parts != nullptr)
      log::error(
          "\"{}\" was destroyed while parameter \"{}\" is leased: its memory and its files "
          "are kept until the process ends",
          options_.name, tensor.name);
  if (trips_under_way_ > 0)
    log::error(
        "\"{}\" was destroyed and the device does not answer: its memory and its files are "
        "kept until the process ends",
        options_.name);
  return false;
}

}  // namespace spillway::swap
