// next(), commit(), drop(), and the completions: the pipeline.

#include <algorithm>
#include <cstring>

#include "base/align.h"
#include "base/check.h"
#include "base/current_error.h"
#include "base/log.h"
#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {
namespace {

constexpr int write_attempts = 2;  // the second goes to a fresh slot

double seconds_since(TimePoint start) { return seconds_between(start, Clock::now()); }

}  // namespace

// ---- which tiles a pass visits

bool Swapper::selects(const PassState& pass, const SliceRecord& slice) const {
  if (!table_.param(slice.param).live) return false;
  if (pass.every_parameter) return true;
  return pass.chosen[static_cast<std::size_t>(slice.param)] && slice.offset < pass.to &&
         slice.offset + slice.count > pass.from;
}

// Of those, a resumed step shows only what does not hold it yet.
bool Swapper::yields(const PassState& pass, const SliceRecord& slice) const {
  return selects(pass, slice) &&
         (!pass.step || pass.write == 0 || !slice.holds(*pass.step, pass.write));
}

bool Swapper::visits(const PassState& pass, const TileRecord& tile) const {
  if (!tile.live) return false;
  const UnitRecord& unit = table_.unit_of(tile);
  for (std::uint32_t i = 0; i < tile.slice_count; ++i)
    if (yields(pass, unit.slices[tile.first_slice + i])) return true;
  return false;
}

// The tile at or behind the cursor that the pass visits; the cursor then stands on it.
TileRecord* Swapper::find(const PassState& pass, PassState::Cursor& at, std::uint32_t& index) {
  for (; at.unit < pass.units.size(); ++at.unit, at.tile = 0) {
    const UnitRecord& unit = table_.unit(pass.units[at.unit]);
    for (; at.tile < unit.tiles.size(); ++at.tile) {
      index = unit.tiles[at.tile];
      if (index >= pass.first_tile && visits(pass, table_.tiles()[index]))
        return &table_.tiles()[index];
    }
  }
  return nullptr;
}

// ---- leases

void Swapper::timed_out(const char* what) const {
  throw_error(Errc::timeout, "optimizer \"{}\": waited {:.1f} s (io.timeout) for {}; {}",
              options_.name, io_.timeout, what,
              store_ ? house_->engine().describe_in_flight() : "no device is in use");
}

// One buffer is always left for the device; those of tiles that cannot be written are gone as well.
int Swapper::most_held() const {
  const auto failed = std::count_if(leases_.begin(), leases_.end(), [](const auto& lease) {
    return lease->state == LeaseState::failed;
  });
  return std::max(1, max_held_ - static_cast<int>(failed));
}

Lease* Swapper::free_lease(bool resident) {
  for (auto& lease : leases_)
    if (lease->resident == resident && lease->state == LeaseState::free) return lease.get();
  return nullptr;
}

void Swapper::assign(Lease& lease, PassState& pass, std::uint32_t index) {
  TileRecord& tile = table_.tiles()[index];
  lease.pass = &pass;
  lease.tile = index;
  tile.lease = lease.index;
  lease.claimed = lease.given = false;
  lease.reads = lease.writes = 0;
  lease.error.reset();
  lease.mutated.store(0, std::memory_order_relaxed);
  lease.undo_valid = false;
  lease.checksum_seconds = 0;
  if (lease.resident) {
    home_sections(tile, lease.section);
    return;
  }
  auto memory = pool_->try_acquire(table_.layout().tile_bytes(), options_.name);
  SPILLWAY_CHECK(memory.has_value(), "a free lease always finds its buffer");
  lease.memory = std::move(*memory);
  std::byte* at = lease.memory.data();
  for (int s = 0; s < table_.states(); ++s) {
    lease.section[static_cast<std::size_t>(s)] = at;
    at += store_->footprint(table_.payload(tile, s));
  }
}

void Swapper::release(Lease& lease) noexcept {
  table_.tiles()[lease.tile].lease = no_lease;
  lease.memory.release();
  lease.state = LeaseState::free;
  lease.claimed = lease.given = false;
  lease.pass = nullptr;
  lease.error.reset();
  lease.slices.clear();
}

// Frees the buffer of a tile that was read ahead and that nobody waits for: the furthest of the
// other passes, else of `pass` itself, which is further away than the tile that it needs now.
bool Swapper::revoke_prefetch(const PassState& pass) {
  Lease* furthest = nullptr;
  const auto better = [&](const Lease& lease) {
    if (furthest == nullptr) return true;
    if ((lease.pass == &pass) != (furthest->pass == &pass)) return lease.pass != &pass;
    return lease.tile > furthest->tile;
  };
  for (auto& lease : leases_)
    if (lease->state == LeaseState::ready && !lease->claimed && better(*lease))
      furthest = lease.get();
  if (furthest == nullptr) return false;
  furthest->pass->ahead = furthest->pass->hand;  // it will be read again
  release(*furthest);
  return true;
}

Lease& Swapper::take_buffer(Lock& lock, PassState& pass) {
  const auto usable = [&] { return free_lease(false) != nullptr || revoke_prefetch(pass); };
  if (!usable()) {
    const auto failed = [](const auto& lease) {
      return lease->resident || lease->state == LeaseState::failed;
    };
    const auto hopeless = [&] { return std::all_of(leases_.begin(), leases_.end(), failed); };
    ++demands_;
    try {
      wait(lock, stats_.stall_buffer_seconds, "a free buffer",
           [&] { return usable() || pass.error || hopeless(); });
    } catch (...) {
      --demands_;
      throw;
    }
    --demands_;
    check_healthy(pass);
    for (auto& lease : leases_)
      if (lease->state == LeaseState::failed && hopeless())
        throw explain(*lease, "is committed, cannot be written, and holds the last buffer");
  }
  return *free_lease(false);
}

// ---- reading

// Starts the reads of a tile whose buffer is assigned. What the pass reads comes from the store;
// so does what it writes where it leaves some of the tile's parameters alone.
void Swapper::start_read(Lease& lease, io::Service service) {
  PassState& pass = *lease.pass;
  const TileRecord& tile = table_.tiles()[lease.tile];
  const UnitRecord& unit = table_.unit_of(tile);
  std::uint32_t wanted = pass.read;
  for (std::uint32_t i = 0; i < tile.slice_count; ++i) {
    const SliceRecord& slice = unit.slices[tile.first_slice + i];
    if (!yields(pass, slice) && table_.param(slice.param).live) wanted |= pass.write;
  }
  lease.reads = wanted & tile.written;
  if (lease.reads == 0) {
    lease.state = LeaseState::ready;
    return;
  }
  lease.state = LeaseState::reading;
  ++pass.reading;
  try {
    lease.transfer->clear();
    for (int s = 0; s < table_.states(); ++s)
      if (lease.reads & (1u << s))
        lease.transfer->add_read(table_.section(tile, s),
                                 lease.section[static_cast<std::size_t>(s)]);
    lease.transfer->submit(service, read_done, &lease);
  } catch (...) {
    --pass.reading;
    release(lease);
    throw;
  }
}

void Swapper::read_done(store::Transfer& transfer, void* context) {
  Lease& lease = *static_cast<Lease*>(context);
  Swapper& self = *lease.swapper;
  Lock lock(self.mutex_);
  PassState& pass = *lease.pass;
  --pass.reading;
  lease.state = LeaseState::ready;
  if (transfer.ok()) {
    self.stats_.bytes_read += transfer.bytes();
    ++self.stats_.tiles_read;
  } else {
    lease.error = self.error_of(transfer);
  }
  if (!lease.claimed && (pass.closed || transfer.cancelled())) self.release(lease);
  self.finish(pass);
  self.read_ahead_all();
  self.moved_.notify_all();
}

// Gives free buffers to the tiles that come next.
void Swapper::read_ahead(PassState& pass) {
  if (!offload_.pipeline_read || demands_ > 0) return;
  if (pass.closed || pass.settled || pass.error || pass.torn) return;
  if (pass.ahead < pass.hand) pass.ahead = pass.hand;
  for (std::uint32_t index = 0; TileRecord* tile = find(pass, pass.ahead, index);
       ++pass.ahead.tile) {
    if (tile->resident || tile->lease != no_lease) continue;
    Lease* lease = free_lease(false);
    if (lease == nullptr) return;
    assign(*lease, pass, index);
    start_read(*lease, io::Service::prefetch);
  }
}

// On the I/O thread and in destructors there is nobody to throw at: the pass keeps the error.
void Swapper::read_ahead_all() {
  for (auto& pass : passes_) {
    try {
      read_ahead(*pass);
    } catch (...) {
      fail(*pass);
    }
  }
}

// ---- next()

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
    wait(lock, stats_.stall_read_seconds, "a tile to be read",
         [&] { return lease->state == LeaseState::ready; });
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

// What the engine's thread does for its tile, without the mutex: the tile is its own now.
void Swapper::prepare(Lease& lease) {
  const PassState& pass = *lease.pass;
  TileRecord& tile = table_.tiles()[lease.tile];
  if (!lease.resident) {
    const TimePoint start = Clock::now();
    for (int s = 0; s < table_.states(); ++s) {
      if ((lease.reads & (1u << s)) == 0) continue;
      try {
        lease.transfer->verify(table_.section(tile, s), lease.section[static_cast<std::size_t>(s)]);
      } catch (const Error& error) {
        throw_error(error.code(), "optimizer \"{}\": {}, state \"{}\": {}", options_.name,
                    table_.describe(tile),
                    table_.layout().states()[static_cast<std::size_t>(s)].name, error.what());
      }
    }
    lease.checksum_seconds += seconds_since(start);
  }
  const std::uint32_t fresh = (pass.read | pass.write) & ~tile.written;
  if (fresh != 0) fill_unwritten(tile, lease.section, fresh);
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
    tile.written |= fresh;  // its memory holds them from now on
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

std::span<const Slice> Swapper::upcoming(PassState& pass) {
  house_->check_process();
  Lock lock(mutex_);
  pass.upcoming.clear();
  if (pass.settled) return {};
  PassState::Cursor at = pass.hand;
  std::uint32_t index = 0;
  for (int n = 0; n < std::max(1, buffers_ - 1); ++n, ++at.tile) {
    const TileRecord* tile = find(pass, at, index);
    if (tile == nullptr) break;
    const UnitRecord& unit = table_.unit_of(*tile);
    for (std::uint32_t i = 0; i < tile->slice_count; ++i) {
      const SliceRecord& record = unit.slices[tile->first_slice + i];
      if (!yields(pass, record)) continue;
      Slice slice;
      slice.param = record.param;
      slice.tag = table_.param(record.param).tag;
      slice.offset = record.offset;
      slice.count = record.count;
      pass.upcoming.push_back(slice);
    }
  }
  return pass.upcoming;
}

// The end of a pass: every committed tile is on the device, or the pass has failed.
void Swapper::drain(Lock& lock, PassState& pass) {
  wait(lock, stats_.stall_write_seconds, "the last tiles to be written",
       [&] { return pass.writing == 0; });
  check_healthy(pass);
  pass.exhausted = true;
  finish(pass);
}

// ---- commit and drop

void Swapper::commit(Lease& lease) {
  house_->check_process();
  PassState& pass = *lease.pass;
  TileRecord& tile = table_.tiles()[lease.tile];
  const std::uint32_t changed = lease.mutated.load(std::memory_order_acquire) & pass.write;
  // What was neither read nor filled started undefined: half of it would be garbage.
  const std::uint32_t undefined =
      lease.resident ? 0 : changed & ~pass.read & ~lease.reads & tile.written;
  for (int s = 0; undefined != 0 && s < table_.states(); ++s)
    for (std::size_t i = 0; i < lease.slices.size(); ++i)
      if ((undefined & ~lease.touched[i].load(std::memory_order_relaxed) & (1u << s)) != 0)
        throw_error(Errc::invalid_argument,
                    "optimizer \"{}\": {}: a pass that only writes state \"{}\" must write it for "
                    "every slice of a tile before commit, and \"{}\" was left out",
                    options_.name, table_.describe(tile),
                    table_.layout().states()[static_cast<std::size_t>(s)].name,
                    table_.param(lease.slices[i].param).name);
  if (!lease.resident && changed != 0) {
    const TimePoint start = Clock::now();
    for (int s = 0; s < table_.states(); ++s)
      if (changed & (1u << s))
        lease.seals[static_cast<std::size_t>(s)] =
            store_->seal(table_.section(tile, s), lease.section[static_cast<std::size_t>(s)]);
    lease.checksum_seconds += seconds_since(start);
  }
  std::vector<std::unique_ptr<Attachment>> attachments = std::move(lease.attachments);
  lease.attachments.clear();
  {
    Lock lock(mutex_);
    stats_.compute_seconds += seconds_since(lease.handed_out);
    stats_.checksum_seconds += lease.checksum_seconds;
    mark_committed(lease, changed);
    if (lease.resident || changed == 0) {
      release(lease);
    } else {
      lease.writes = changed;
      lease.attempts = 0;
      start_write(lease);
    }
    returned(&pass);
  }
  for (auto& attachment : attachments) attachment->publish();
}

void Swapper::mark_committed(Lease& lease, std::uint32_t changed) {
  PassState& pass = *lease.pass;
  if (pass.write == 0) return;
  UnitRecord& unit = table_.unit_of(table_.tiles()[lease.tile]);
  pass.committed = true;
  for (std::size_t i = 0; i < lease.slice_index.size(); ++i) {
    SliceRecord& slice = unit.slices[lease.slice_index[i]];
    const std::uint32_t states = changed & lease.touched[i].load(std::memory_order_relaxed);
    if (pass.step)
      slice.take_step(*pass.step, pass.write);
    else if (pass.read == 0)
      slice.load(states);
    slice.torn &= ~states;
  }
}

// Gives the buffer to the device. A submission that is refused counts as a write that failed.
void Swapper::start_write(Lease& lease) noexcept {
  const TileRecord& tile = table_.tiles()[lease.tile];
  lease.state = LeaseState::writing;
  ++lease.attempts;
  if (lease.pass != nullptr) ++lease.pass->writing;
  try {
    lease.transfer->clear();
    for (int s = 0; s < table_.states(); ++s)
      if (lease.writes & (1u << s))
        lease.transfer->add_write(table_.section(tile, s),
                                  lease.section[static_cast<std::size_t>(s)],
                                  lease.seals[static_cast<std::size_t>(s)]);
    lease.transfer->submit(io::Service::write, write_done, &lease);
  } catch (...) {
    lease.state = LeaseState::failed;
    lease.error = current_error(no_memory_);
    if (lease.pass != nullptr) {
      --lease.pass->writing;
      lease.pass->error = explain(lease, "is committed and cannot be written");
    }
    moved_.notify_all();
  }
}

void Swapper::write_done(store::Transfer& transfer, void* context) {
  Lease& lease = *static_cast<Lease*>(context);
  Swapper& self = *lease.swapper;
  Lock lock(self.mutex_);
  PassState* pass = lease.pass;
  if (pass != nullptr) --pass->writing;
  if (transfer.ok()) {
    self.stats_.bytes_written += transfer.bytes();
    ++self.stats_.tiles_written;
    self.table_.tiles()[lease.tile].written |= lease.writes;
    self.release(lease);
    self.read_ahead_all();
  } else if (lease.attempts < write_attempts && !transfer.cancelled()) {
    ++self.stats_.write_retries;
    self.start_write(lease);
  } else {
    lease.state = LeaseState::failed;
    lease.error = self.error_of(transfer);
    if (pass != nullptr && !pass->error)
      pass->error = self.explain(lease, "is committed and cannot be written");
  }
  if (pass != nullptr) self.finish(*pass);
  self.moved_.notify_all();
}

// The words for an error take memory. Where there is none, the error is what can be had without.
Error Swapper::error_of(const store::Transfer& transfer) const noexcept {
  try {
    return transfer.error();
  } catch (...) {
    return no_memory_;
  }
}

Error Swapper::explain(const Lease& lease, const char* doing) const noexcept {
  try {
    const TileRecord& tile = table_.tiles()[lease.tile];
    std::string state;
    if (lease.transfer != nullptr && lease.transfer->failed() != store::no_section &&
        lease.error.has_value()) {
      const auto s = static_cast<std::uint32_t>(lease.transfer->failed()) -
                     static_cast<std::uint32_t>(tile.sections);
      if (s < static_cast<std::uint32_t>(table_.states()))
        state = fmt::format(", state \"{}\"", table_.layout().states()[s].name);
    }
    return Error(lease.error ? lease.error->code() : Errc::io_error,
                 fmt::format("optimizer \"{}\": {}{} {}: {}", options_.name, table_.describe(tile),
                             state, doing, lease.error ? lease.error->what() : "unknown"));
  } catch (...) {
    return lease.error ? *lease.error : no_memory_;
  }
}

// A tile has come back from the engine, either way. With the mutex.
void Swapper::returned(PassState* pass) noexcept {
  --held_, --pass->held;
  read_ahead_all();
  moved_.notify_all();
  finish(*pass);
}

void Swapper::drop(Lease& lease) noexcept {
  PassState& pass = *lease.pass;
  const std::uint32_t changed = lease.mutated.load(std::memory_order_acquire) & pass.write;
  TileRecord& tile = table_.tiles()[lease.tile];
  UnitRecord& unit = table_.unit_of(tile);
  if (lease.resident && changed != 0 && lease.undo_valid) {
    for (int s = 0; s < table_.states(); ++s)
      for (std::uint32_t index : lease.slice_index)
        if ((changed & (1u << s)) != 0)
          std::memcpy(slice_bytes(lease, index, s), undo_bytes(lease, index, s),
                      static_cast<std::size_t>(table_.layout().bytes(s, unit.slices[index].count)));
  }
  std::vector<std::unique_ptr<Attachment>> unpublished = std::move(lease.attachments);
  lease.attachments.clear();
  {
    Lock lock(mutex_);
    stats_.compute_seconds += seconds_since(lease.handed_out);
    stats_.checksum_seconds += lease.checksum_seconds;
    if (lease.resident && changed != 0 && !lease.undo_valid)
      for (std::size_t i = 0; i < lease.slice_index.size(); ++i) {
        const std::uint32_t torn = changed & lease.touched[i].load(std::memory_order_relaxed);
        if (torn == 0) continue;
        unit.slices[lease.slice_index[i]].torn |= torn;
        pass.torn = true;
      }
    release(lease);
    returned(&pass);
  }
}

}  // namespace spillway::swap
