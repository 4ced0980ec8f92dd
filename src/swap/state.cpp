// Where bytes lie, and the calls that change the table.

#include <algorithm>
#include <cstring>
#include <exception>

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
  std::vector<Source> sources = sources_of(name, elements, options);
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
    sourced_ = sourced_ || !sources.empty();
    table_.param(id).sources = std::move(sources);
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

}  // namespace spillway::swap
