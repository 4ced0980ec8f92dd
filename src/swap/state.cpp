// Where bytes lie, and the calls between passes: read_state, write_state, reset, add, remove.

#include <algorithm>
#include <cstring>
#include <exception>

#include "base/align.h"
#include "base/log.h"
#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {

// ---- where bytes lie

void Swapper::home_sections(const TileRecord& tile, std::array<std::byte*, max_states>& at) const {
  std::byte* next = tile.home;
  for (int s = 0; s < table_.states(); ++s) {
    at[static_cast<std::size_t>(s)] = next;
    next += table_.home_bytes(tile, s);
  }
}

std::byte* Swapper::slice_bytes(const Lease& lease, std::uint32_t unit_slice, int s) const {
  const UnitRecord& unit = table_.unit_of(table_.tiles()[lease.tile]);
  const SliceRecord& slice = unit.slices[unit_slice];
  const ParamRecord& owner = table_.param(slice.param);
  if (!owner.adopted.empty() && owner.adopted[static_cast<std::size_t>(s)] != nullptr)
    return owner.adopted[static_cast<std::size_t>(s)] + table_.layout().bytes(s, slice.offset);
  return lease.section[static_cast<std::size_t>(s)] + table_.offset(unit, unit_slice, s);
}

std::byte* Swapper::undo_bytes(const Lease& lease, std::uint32_t unit_slice, int s) const {
  std::byte* at = lease.undo;
  for (int before = 0; before < s; ++before) at += table_.layout().capacity(before);
  return at + table_.offset(table_.unit_of(table_.tiles()[lease.tile]), unit_slice, s);
}

// Gives states that were never written their constant. Adopted memory is the engine's: it holds
// what it holds.
void Swapper::fill_unwritten(const TileRecord& tile,
                             const std::array<std::byte*, max_states>& section,
                             std::uint32_t states) {
  const UnitRecord& unit = table_.unit_of(tile);
  for (int s = 0; s < table_.states(); ++s) {
    if ((states & (1u << s)) == 0) continue;
    const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
    for (std::uint32_t i = tile.first_slice; i < tile.first_slice + tile.slice_count; ++i) {
      const ParamRecord& owner = table_.param(unit.slices[i].param);
      if (!owner.adopted.empty() && owner.adopted[static_cast<std::size_t>(s)] != nullptr) continue;
      std::byte* at = section[static_cast<std::size_t>(s)] + table_.offset(unit, i, s);
      const auto bytes = static_cast<std::size_t>(
          align_up(table_.layout().bytes(s, unit.slices[i].count), slice_alignment));
      fill_constant({at, bytes}, state.dtype, state.initial);
    }
  }
}

std::span<std::byte> Swapper::bytes_of(const Lease& lease, std::uint32_t slice,
                                       std::string_view name, DType dtype, bool mutate) {
  house_->check_process();  // a forked child has the table, but not the memory
  const int s = checked_state(name);
  const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
  const std::uint32_t bit = 1u << s;
  const PassState& pass = *lease.pass;
  if (state.dtype != dtype)
    throw_error(Errc::invalid_argument, "optimizer \"{}\": state \"{}\" is {}, not {}",
                options_.name, name, to_string(state.dtype), to_string(dtype));
  if (((pass.read | pass.write) & bit) == 0)
    throw_error(Errc::invalid_argument, "optimizer \"{}\": state \"{}\" is not part of this pass",
                options_.name, name);
  if (mutate && (pass.write & bit) == 0)
    throw_error(Errc::invalid_argument,
                "optimizer \"{}\": this pass only reads state \"{}\": take it as const",
                options_.name, name);
  Lease& mutable_lease = const_cast<Lease&>(lease);
  if (mutate) {
    mutable_lease.touched[slice].fetch_or(bit, std::memory_order_relaxed);
    mutable_lease.mutated.fetch_or(bit, std::memory_order_release);
  }
  const std::uint32_t index = lease.slice_index[slice];
  const SliceRecord& record = table_.unit_of(table_.tiles()[lease.tile]).slices[index];
  return {slice_bytes(lease, index, s),
          static_cast<std::size_t>(table_.layout().bytes(s, record.count))};
}

// ---- the table

UnitId Swapper::add_unit(std::string name) {
  house_->check_process();
  Lock lock(mutex_);
  check_no_pass(lock, "add_unit");
  return table_.add_unit(std::move(name));
}

ParamId Swapper::add(std::string name, std::int64_t elements, const ParamOptions& options) {
  house_->check_process();
  ParamId id{};
  {
    Lock lock(mutex_);
    check_no_pass(lock, "add");
    for (const Initial& init : options.init) {
      const int s = checked_state(init.state);
      if (elements >= 0 &&
          static_cast<std::int64_t>(init.values.size()) != table_.layout().bytes(s, elements))
        throw_error(Errc::invalid_argument,
                    "parameter \"{}\": init gives {} bytes for state \"{}\" and needs {}", name,
                    init.values.size(), init.state, table_.layout().bytes(s, elements));
    }
    // What is added may have to be taken back when there is no memory.
    if (!options.init.empty() && elements > 0)
      spare_homes_.reserve(
          static_cast<std::size_t>(elements / table_.layout().tile_elements() + 2));
    id = table_.add(std::move(name), elements, options);
  }
  try {
    for (const Initial& init : options.init) write_state(id, init.state, 0, init.values);
  } catch (...) {
    const std::exception_ptr trouble = std::current_exception();
    try {
      remove(id);
    } catch (const std::exception& error) {
      // A dead device still has its bytes, or somebody has begun a pass: it stays, unused.
      log::warning("optimizer \"{}\": parameter {} could not be taken back: {}", options_.name,
                   static_cast<std::uint32_t>(id), error.what());
    }
    std::rethrow_exception(trouble);
  }
  return id;
}

void Swapper::remove(ParamId id) {
  house_->check_process();
  std::lock_guard no_read_state(scratch_mutex_);
  await_scratch(deadline_in(io_.timeout));
  Lock lock(mutex_);
  check_no_pass(lock, "remove");
  spare_homes_.reserve(table_.param(table_.checked(id)).slice_count);
  for (std::uint32_t index : table_.remove(id)) {
    TileRecord& tile = table_.tiles()[index];
    // Committed bytes that could not be written are not wanted any more.
    if (tile.lease != no_lease) release(*leases_[static_cast<std::size_t>(tile.lease)]);
    const std::int64_t bytes = tile.home != nullptr ? home_bytes(tile) : 0;
    if (bytes > 0)
      spare_homes_.insert(static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(tile.home)),
                          bytes);
    tile.home = nullptr;
  }
  const UnitId home = table_.param(id).unit;
  settle_step(table_.unit(home), holds_failed(home));  // it may have been the last that was owed
}

void Swapper::check_no_pass(Lock& lock, const char* call) {
  await_leftovers(lock);
  const auto open = std::count_if(passes_.begin(), passes_.end(),
                                  [](const auto& pass) { return !pass->settled; });
  if (open > 0)
    throw_error(Errc::busy, "optimizer \"{}\": {} is a call between passes, and {} run(s) are open",
                options_.name, call, open);
}

int Swapper::checked_state(std::string_view name) const {
  const int s = table_.layout().find(name);
  if (s >= 0) return s;
  std::string known;
  for (const State& state : table_.layout().states())
    known += (known.empty() ? "\"" : ", \"") + state.name + "\"";
  throw_error(Errc::invalid_argument, "optimizer \"{}\" has no state \"{}\": it has {}",
              options_.name, name, known);
}

void Swapper::check_dtype(std::string_view name, DType dtype) const {
  const State& state = table_.layout().states()[static_cast<std::size_t>(checked_state(name))];
  if (state.dtype != dtype)
    throw_error(Errc::invalid_argument, "optimizer \"{}\": state \"{}\" is {}, not {}",
                options_.name, name, to_string(state.dtype), to_string(dtype));
}

void Swapper::check_range(const ParamRecord& param, int s, std::int64_t offset,
                          std::int64_t bytes) const {
  const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
  const std::int64_t values = table_.layout().values(s, param.elements);
  const std::int64_t unit = width(state.dtype);
  if (offset < 0 || bytes % unit != 0 || offset > values || bytes / unit > values - offset)
    throw_error(
        Errc::invalid_argument,
        "parameter \"{}\" has {} values of state \"{}\" ({} bytes each); {} bytes from value "
        "{} are outside",
        param.name, values, state.name, unit, bytes, offset);
}

const ParamRecord& Swapper::param(ParamId id) const {
  house_->check_process();
  Lock lock(mutex_);
  return table_.param(table_.checked(id));
}

// ---- read_state

void Swapper::read_state(ParamId id, std::string_view name, std::int64_t offset,
                         std::span<std::byte> to) {
  seal();
  std::lock_guard one_at_a_time(scratch_mutex_);
  await_scratch(deadline_in(io_.timeout));
  struct Part {
    std::uint32_t tile, slice;
    std::int64_t first, from, bytes;
  };
  std::vector<Part> parts;
  int s = 0;
  {
    Lock lock(mutex_);
    s = checked_state(name);
    const ParamRecord& record = table_.param(table_.checked(id));
    check_range(record, s, offset, static_cast<std::int64_t>(to.size()));
    const std::int64_t begin =
        offset * width(table_.layout().states()[static_cast<std::size_t>(s)].dtype);
    const std::int64_t end = begin + static_cast<std::int64_t>(to.size());
    const UnitRecord& unit = table_.unit(record.unit);
    for (std::uint32_t t : unit.tiles) {
      const TileRecord& tile = table_.tiles()[t];
      if (tile.first_slice >= record.first_slice + record.slice_count ||
          tile.first_slice + tile.slice_count <= record.first_slice)
        continue;
      for (std::uint32_t i = tile.first_slice; i < tile.first_slice + tile.slice_count; ++i) {
        const SliceRecord& slice = unit.slices[i];
        if (slice.param != id) continue;
        const std::int64_t start = table_.layout().bytes(s, slice.offset);
        const std::int64_t low = std::max(begin, start);
        const std::int64_t high = std::min(end, start + table_.layout().bytes(s, slice.count));
        if (low >= high) continue;
        if (slice.torn & (1u << s))
          throw StepError(
              fmt::format("optimizer \"{}\": parameter \"{}\" is torn between old and new: "
                          "write its states again",
                          options_.name, record.name),
              {id});
        parts.push_back({t, i, low - start, low - begin, high - low});
      }
    }
  }
  for (const Part& part : parts)
    read_slice(
        part.tile, part.slice, s, part.first,
        to.subspan(static_cast<std::size_t>(part.from), static_cast<std::size_t>(part.bytes)));
}

// The last committed bytes of one slice, from byte `first` on: from memory where they are there,
// else from the store.
void Swapper::read_slice(std::uint32_t index, std::uint32_t unit_slice, int s, std::int64_t first,
                         std::span<std::byte> to) {
  const std::uint32_t bit = 1u << s;
  Lock lock(mutex_);
  const TileRecord& tile = table_.tiles()[index];
  const UnitRecord& unit = table_.unit_of(tile);
  const ParamRecord& owner = table_.param(unit.slices[unit_slice].param);
  const Lease* lease =
      tile.lease == no_lease ? nullptr : leases_[static_cast<std::size_t>(tile.lease)].get();
  const bool adopted =
      !owner.adopted.empty() && owner.adopted[static_cast<std::size_t>(s)] != nullptr;
  const std::byte* from = nullptr;
  if (lease != nullptr && !lease->resident && (lease->writes & bit) != 0 &&
      (lease->state == LeaseState::writing || lease->state == LeaseState::failed)) {
    from = slice_bytes(*lease, unit_slice, s);
  } else if (tile.resident && lease != nullptr && lease->given && (lease->pass->write & bit) != 0) {
    if (!lease->undo_valid)
      throw_error(Errc::busy,
                  "optimizer \"{}\": {} is with the engine for writing, and memory is its home: "
                  "read it after the commit, or set OptimizerOptions::undo",
                  options_.name, table_.describe(tile));
    from = undo_bytes(*lease, unit_slice, s);
  } else if (tile.resident && (adopted || (tile.written & bit) != 0)) {
    Lease home;
    home.tile = index;
    home_sections(tile, home.section);
    from = slice_bytes(home, unit_slice, s);
  } else if ((tile.written & bit) == 0) {
    const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
    fill_constant(to, state.dtype, state.initial);
    return;
  } else {
    const std::int64_t at = table_.offset(unit, unit_slice, s) + first;
    read_section(lock, index, s);
    std::memcpy(to.data(), scratch_.data() + at, to.size());
    return;
  }
  std::memcpy(to.data(), from + first, to.size());
}

void Swapper::scratch_done(store::Transfer&, void* context) {
  Swapper& self = *static_cast<Swapper*>(context);
  std::lock_guard lock(self.scratch_done_mutex_);
  self.scratch_in_flight_ = false;
  self.scratch_moved_.notify_all();
}

// Without mutex_, which the completions before that of the scratch may need.
void Swapper::await_scratch(TimePoint deadline) {
  Lock done(scratch_done_mutex_);
  if (!scratch_moved_.wait_until(done, deadline, [&] { return !scratch_in_flight_; }))
    timed_out("a read_state");
}

// Reads one section into the scratch memory and verifies it against what stood in the table when
// it was submitted: a commit meanwhile does not matter. Unlocks for good.
void Swapper::read_section(Lock& lock, std::uint32_t index, int s) {
  const TileRecord& tile = table_.tiles()[index];
  const store::SectionId section = table_.section(tile, s);
  const std::int64_t need = store_->footprint(section);
  const std::string what =
      fmt::format("optimizer \"{}\": {}, state \"{}\"", options_.name, table_.describe(tile),
                  table_.layout().states()[static_cast<std::size_t>(s)].name);
  if (scratch_.bytes() < need) {
    RegionOptions region = region_options(options_.name + " scratch", false);
    region.pin = region.require_pinned = false;
    scratch_ = PinnedRegion(need, region);
  }
  if (!scratch_transfer_) scratch_transfer_ = std::make_unique<store::Transfer>(*store_, 1);
  scratch_transfer_->clear();
  scratch_transfer_->add_read(section, scratch_.data());
  const auto in_flight = [this](bool is) {
    std::lock_guard done(scratch_done_mutex_);
    scratch_in_flight_ = is;
  };
  in_flight(true);
  try {
    scratch_transfer_->submit(io::Service::demand, scratch_done, this);
  } catch (...) {
    in_flight(false);
    throw;
  }
  stats_.bytes_read += need;
  lock.unlock();
  await_scratch(deadline_in(io_.timeout));
  try {
    if (!scratch_transfer_->ok()) throw scratch_transfer_->error();
    scratch_transfer_->verify(section, scratch_.data());
  } catch (const Error& error) {
    throw_error(error.code(), "{} cannot be read: {}", what, error.what());
  }
}

// ---- write_state, reset

void Swapper::write_state(ParamId id, std::string_view name, std::int64_t offset,
                          std::span<const std::byte> from) {
  seal();
  Pass request;
  request.only = {id};
  request.write = {name};
  std::int64_t begin_byte = 0, end_byte = 0;
  Internal internal;
  int s = 0;
  {
    Lock lock(mutex_);
    s = checked_state(name);
    const ParamRecord& record = table_.param(table_.checked(id));
    check_range(record, s, offset, static_cast<std::int64_t>(from.size()));
    if (from.empty()) return;
    const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
    begin_byte = offset * width(state.dtype);
    end_byte = begin_byte + static_cast<std::int64_t>(from.size());
    internal.from = offset * state.elements_per_value;
    internal.to = end_byte / width(state.dtype) * state.elements_per_value;
    const bool whole = begin_byte == 0 && end_byte == table_.layout().bytes(s, record.elements);
    if (!whole) request.read = {name};
    const UnitRecord& unit = table_.unit(record.unit);
    for (std::uint32_t i = record.first_slice; i < record.first_slice + record.slice_count; ++i) {
      const std::int64_t start = table_.layout().bytes(s, unit.slices[i].offset);
      const std::int64_t end = start + table_.layout().bytes(s, unit.slices[i].count);
      if ((unit.slices[i].torn & (1u << s)) != 0 && end > begin_byte && start < end_byte &&
          (start < begin_byte || end > end_byte))
        throw StepError(
            fmt::format("optimizer \"{}\": parameter \"{}\" is torn between old and new: "
                        "write state \"{}\" whole",
                        options_.name, record.name, name),
            {id});
    }
  }
  PassState* pass = begin(request, &internal);
  try {
    while (auto tile = next(*pass)) {
      for (const Slice& slice : tile->slices()) {
        const std::int64_t start = table_.layout().bytes(s, slice.offset);
        const auto bytes =
            slice.raw(name, table_.layout().states()[static_cast<std::size_t>(s)].dtype, true);
        const std::int64_t low = std::max(begin_byte, start);
        const std::int64_t high =
            std::min(end_byte, start + static_cast<std::int64_t>(bytes.size()));
        if (low < high)
          std::memcpy(bytes.data() + (low - start), from.data() + (low - begin_byte),
                      static_cast<std::size_t>(high - low));
      }
      tile->commit();
    }
  } catch (...) {
    close(pass);
    throw;
  }
  close(pass);
}

void Swapper::reset(std::string_view name, double value) {
  house_->check_process();
  Lock lock(mutex_);
  check_no_pass(lock, "reset");
  const int s = checked_state(name);
  const std::uint32_t bit = 1u << s;
  const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
  check_constant(state, value);
  table_.layout().set_initial(s, value);
  for (auto& lease : leases_) {
    if (lease->state != LeaseState::failed) continue;
    lease->writes &= ~bit;
    if (lease->writes == 0) release(*lease);
  }
  for (TileRecord& tile : table_.tiles()) {
    if (!tile.live) continue;
    tile.written &= ~bit;
    if (!tile.resident && store_->written(table_.section(tile, s)))
      store_->forget(table_.section(tile, s));
    UnitRecord& unit = table_.unit_of(tile);
    for (std::uint32_t i = tile.first_slice; i < tile.first_slice + tile.slice_count; ++i) {
      SliceRecord& slice = unit.slices[i];
      slice.torn &= ~bit;
      slice.load(bit);
      const ParamRecord& owner = table_.param(slice.param);
      if (owner.adopted.empty() || owner.adopted[static_cast<std::size_t>(s)] == nullptr) continue;
      fill_constant(
          {owner.adopted[static_cast<std::size_t>(s)] + table_.layout().bytes(s, slice.offset),
           static_cast<std::size_t>(table_.layout().bytes(s, slice.count))},
          state.dtype, value);
    }
  }
  for (std::size_t u = 0; u < table_.units().size(); ++u)
    settle_step(table_.units()[u], holds_failed(static_cast<UnitId>(u)));
}

}  // namespace spillway::swap
