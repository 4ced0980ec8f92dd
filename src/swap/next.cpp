// next(): a tile, from its claim to the hands of the engine.

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/current_error.h"
#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {

void Swapper::check_healthy(const PassState& pass) const {
  if (!pass.torn) {
    if (pass.error) throw Error(*pass.error);
    return;
  }
  const std::vector<ParamId> torn = torn_params(pass, pass.write);
  throw StepError(
      fmt::format("optimizer \"{}\": a tile was dropped half changed; {} parameter(s) "
                  "are torn, first \"{}\": write their states again, then resume the step",
                  options_.name, torn.size(),
                  torn.empty() ? "" : table_.params()[static_cast<std::size_t>(torn[0])].name),
      torn);
}

// In a catch block: what stands in the way of one tile ends the pass.
void Swapper::fail(PassState& pass) const noexcept { pass.error = current_error(no_memory_); }

std::optional<Tile> Swapper::next(PassState& pass) {
  house_->check_process();
  Lease* lease = nullptr;
  {
    Lock lock(mutex_);
    if (sourced_ && !pass.settled && !pass.error) prefetch_sources(lock, pass);
    check_healthy(pass);
    if (pass.settled) return std::nullopt;
    lease = claim(lock, pass);
    if (lease == nullptr) {
      drain(lock, pass);
      return std::nullopt;
    }
  }
  try {
    prepare(*lease);
  } catch (...) {
    Lock lock(mutex_);
    fail(pass);
    release(*lease);
    returned(&pass);
    throw;
  }
  return Tile(lease);
}

// Takes the next tile for the calling thread and waits until its bytes are there.
Lease* Swapper::claim(Lock& lock, PassState& pass) {
  if (!offload_.pipeline_write) {
    wait(lock, stats_.stall_write_seconds, "the tile before to be written",
         [&] { return pass.writing == 0 || pass.error; });
    check_healthy(pass);
  }
  std::uint32_t index = 0;
  TileRecord* tile = find(pass, pass.hand, index);
  if (tile == nullptr) return nullptr;
  if (held_ >= most_held())
    throw_error(Errc::would_deadlock,
                "optimizer \"{}\": {} tile(s) are held already, the most that {} buffers allow; "
                "commit one before the next, or raise offload_optimizer.buffer_count",
                options_.name, held_, offload_.buffer_count);
  ++pass.hand.tile;
  ++held_, ++pass.held;  // counted while it waits, so that two threads never pass the limit
  Lease* lease = nullptr;
  try {
    if (tile->resident) {
      lease = free_lease(true);
      SPILLWAY_CHECK(lease != nullptr, "as many resident leases as tiles may be held");
      assign(*lease, pass, index);
      lease->claimed = true;
      lease->state = LeaseState::ready;
    } else if (tile->lease == no_lease) {
      Lease& buffer = take_buffer(lock, pass);
      assign(buffer, pass, index);
      start_read(buffer, io::Service::demand);
      lease = &buffer;
      lease->claimed = true;
    } else {
      lease = leases_[static_cast<std::size_t>(tile->lease)].get();
      lease->claimed = true;
      if (lease->state == LeaseState::reading) lease->transfer->promote();
    }
    read_ahead_all();
    verify_arrived(lock, *lease);
    if (lease->error) throw explain(*lease, "cannot be read");
  } catch (...) {
    fail(pass);
    if (lease != nullptr) {
      lease->claimed = false;
      if (lease->state == LeaseState::ready) release(*lease);
    }
    returned(&pass);
    throw;
  }
  lease->state = LeaseState::leased;
  lease->claimed = false;
  return lease;
}

// The states of a tile that is being read whose bytes are there and have not been looked at. 0 for
// a tile that has been read: prepare() looks at what is left.
std::uint32_t Swapper::unverified(const Lease& lease) const {
  std::uint32_t there = 0;
  if (lease.state != LeaseState::reading) return there;
  const TileRecord& tile = table_.tiles()[lease.tile];
  for (int s = 0; s < table_.states(); ++s)
    if ((lease.reads & ~lease.verified & (1u << s)) != 0 &&
        lease.transfer->has_arrived(table_.section(tile, s)))
      there |= 1u << s;
  return there;
}

// Waits until a claimed tile has been read, and compares the checksums of its first states while
// the last ones are on their way. What does not match is left to prepare(), which says so.
void Swapper::verify_arrived(Lock& lock, Lease& lease) {
  for (std::uint32_t looked_at = 0;;) {
    wait(lock, stats_.stall_read_seconds, "a tile to be read",
         [&] { return lease.state == LeaseState::ready || (unverified(lease) & ~looked_at) != 0; });
    if (lease.state == LeaseState::ready) return;
    const std::uint32_t there = unverified(lease) & ~looked_at;
    const TileRecord& tile = table_.tiles()[lease.tile];
    lock.unlock();
    const TimePoint start = Clock::now();
    for (int s = 0; s < table_.states(); ++s)
      if ((there & (1u << s)) != 0 &&
          lease.transfer->matches(table_.section(tile, s),
                                  lease.section[static_cast<std::size_t>(s)]))
        lease.verified |= 1u << s;
    lease.checksum_seconds += seconds_between(start, Clock::now());
    lock.lock();
    looked_at |= there;
  }
}

// What the engine's thread does for its tile, without the mutex: the tile is its own now.
void Swapper::prepare(Lease& lease) {
  const PassState& pass = *lease.pass;
  TileRecord& tile = table_.tiles()[lease.tile];
  if (!lease.resident) {
    const TimePoint start = Clock::now();
    for (int s = 0; s < table_.states(); ++s) {
      if ((lease.reads & ~lease.verified & (1u << s)) == 0) continue;
      try {
        lease.transfer->verify(table_.section(tile, s), lease.section[static_cast<std::size_t>(s)]);
      } catch (const Error& error) {
        throw_error(error.code(), "optimizer \"{}\": {}, state \"{}\": {}", options_.name,
                    table_.describe(tile),
                    table_.layout().states()[static_cast<std::size_t>(s)].name, error.what());
      }
    }
    lease.checksum_seconds += seconds_between(start, Clock::now());
  }
  const std::uint32_t fresh = (pass.read | pass.write) & ~tile.written;
  if (fresh != 0) fill_unwritten(lease, fresh);
  build_slices(lease);
  const bool undo = lease.undo != nullptr && pass.write != 0;
  if (undo) {
    const UnitRecord& unit = table_.unit_of(tile);
    for (int s = 0; s < table_.states(); ++s)
      for (std::uint32_t index : lease.slice_index)
        if ((pass.write & (1u << s)) != 0)
          std::memcpy(undo_bytes(lease, index, s), slice_bytes(lease, index, s),
                      static_cast<std::size_t>(table_.layout().bytes(s, unit.slices[index].count)));
  }
  if (lease.resident) {  // read_state() looks at these
    Lock lock(mutex_);
    // Its memory holds them from now on. First values that come from parameters count as written
    // with the first commit that changes them, on every device.
    tile.written |= fresh & ~lease.sourced;
    lease.undo_valid = undo;
    lease.given = true;
  }
  lease.handed_out = Clock::now();
}

void Swapper::build_slices(Lease& lease) {
  const PassState& pass = *lease.pass;
  const TileRecord& tile = table_.tiles()[lease.tile];
  const UnitRecord& unit = table_.unit_of(tile);
  lease.slices.clear();
  lease.slice_index.clear();
  for (std::uint32_t i = 0; i < tile.slice_count; ++i) {
    const std::uint32_t index = tile.first_slice + i;
    const SliceRecord& record = unit.slices[index];
    if (!yields(pass, record)) continue;
    Slice slice;
    slice.param = record.param;
    slice.tag = table_.param(record.param).tag;
    slice.offset = record.offset;
    slice.count = record.count;
    slice.lease_ = &lease;
    slice.index_ = static_cast<std::uint32_t>(lease.slices.size());
    lease.touched[lease.slices.size()].store(0, std::memory_order_relaxed);
    lease.slices.push_back(slice);
    lease.slice_index.push_back(index);
  }
}

// The end of a pass: every committed tile is on the device, or the pass has failed.
void Swapper::drain(Lock& lock, PassState& pass) {
  wait(lock, stats_.stall_write_seconds, "the last tiles to be written",
       [&] { return pass.writing == 0; });
  check_healthy(pass);
  pass.exhausted = true;
  finish(pass);
}

}  // namespace spillway::swap
