// read_state(): committed values, wherever they are.

#include <algorithm>
#include <cstring>

#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {

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
    const State state = table_.layout().states()[static_cast<std::size_t>(s)];
    const SliceRecord& slice = unit.slices[unit_slice];
    if (const Source* const source = source_of(slice.param, s)) {
      const Source copy = *source;
      const std::string what = describe_state(tile, s);
      const std::int64_t offset = slice.offset + first / width(state.dtype);
      lock.unlock();
      take_first(copy, what, state.dtype, offset, to);
      return;
    }
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
  const std::string what = describe_state(tile, s);
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
  lock.unlock();
  await_scratch(deadline_in(io_.timeout));
  try {
    if (!scratch_transfer_->ok()) throw scratch_transfer_->error();
    lock.lock();
    stats_.bytes_read += need;
    lock.unlock();
    scratch_transfer_->verify(section, scratch_.data());
  } catch (const Error& error) {
    throw_error(error.code(), "{} cannot be read: {}", what, error.what());
  }
}

}  // namespace spillway::swap
