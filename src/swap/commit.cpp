// commit(), drop(), and the writes behind them.

#include <algorithm>
#include <cstring>

#include "base/current_error.h"
#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {
namespace {

constexpr int write_attempts = 2;  // the second goes to a fresh slot

}  // namespace

void Swapper::commit(Lease& lease) {
  house_->check_process();
  PassState& pass = *lease.pass;
  TileRecord& tile = table_.tiles()[lease.tile];
  const std::uint32_t changed = lease.mutated.load(std::memory_order_acquire) & pass.write;
  check_all_written(lease, changed);
  const bool writes = !lease.resident && changed != 0;
  // A checksum stays in memory and is only needed when the write ends: it is computed beside it.
  const bool beside = writes && store_->checksums();
  if (writes)
    for (int s = 0; s < table_.states(); ++s) {
      if ((changed & (1u << s)) == 0) continue;
      const auto i = static_cast<std::size_t>(s);
      if (beside)
        store_->clear_padding(table_.section(tile, s), lease.section[i]);
      else
        lease.seals[i] = store_->seal(table_.section(tile, s), lease.section[i]);
    }
  std::vector<std::unique_ptr<Attachment>> attachments = std::move(lease.attachments);
  lease.attachments.clear();
  {
    Lock lock(mutex_);
    stats_.compute_seconds += seconds_between(lease.handed_out, Clock::now());
    stats_.checksum_seconds += lease.checksum_seconds;
    mark_committed(lease, changed);
    if (lease.resident) tile.written |= changed;
    if (writes) {
      lease.writes = changed;
      lease.sealed = !beside;
      lease.attempts = 0;
      start_write(lease);
    } else {
      release(lease);
    }
  }
  if (beside) seal_states(lease, changed);
  {
    const Lock lock(mutex_);
    returned(&pass);  // not before the tile is sealed: the pass lasts as long
  }
  for (auto& attachment : attachments) attachment->publish();
}

// Computes the checksums of a tile whose write may have begun. The lease may be somebody else's
// when this returns.
void Swapper::seal_states(Lease& lease, std::uint32_t states) {
  const TileRecord& tile = table_.tiles()[lease.tile];
  const TimePoint start = Clock::now();
  std::array<std::uint64_t, max_states> seals{};
  for (int s = 0; s < table_.states(); ++s) {
    const auto i = static_cast<std::size_t>(s);
    if ((states & (1u << s)) != 0)
      seals[i] = store_->checksum_of(table_.section(tile, s), lease.section[i]);
  }
  {
    const Lock lock(mutex_);
    stats_.checksum_seconds += seconds_between(start, Clock::now());
    lease.seals = seals;
    lease.sealed = true;
    if (!lease.owes_seals) return;  // it waits for its turn, or could not be submitted
    lease.owes_seals = false;
  }
  // With the last of these the write may end, and the lease with it.
  store::Transfer& transfer = *lease.transfer;
  for (int s = 0; s < table_.states(); ++s)
    if ((states & (1u << s)) != 0)
      transfer.give_seal(table_.section(tile, s), seals[static_cast<std::size_t>(s)]);
}

// What was neither read nor filled started undefined: half of it would be garbage.
void Swapper::check_all_written(const Lease& lease, std::uint32_t changed) const {
  const PassState& pass = *lease.pass;
  const TileRecord& tile = table_.tiles()[lease.tile];
  const std::uint32_t unread =
      lease.resident ? 0 : changed & ~pass.read & ~lease.reads & tile.written;
  const std::uint32_t unfilled = changed & lease.unfilled;
  for (int s = 0; (unread | unfilled) != 0 && s < table_.states(); ++s)
    for (std::size_t i = 0; i < lease.slices.size(); ++i) {
      const std::uint32_t bit = 1u << s;
      if ((lease.touched[i].load(std::memory_order_relaxed) & bit) != 0) continue;
      const ParamId param = lease.slices[i].param;
      if ((unread & bit) != 0 || ((unfilled & bit) != 0 && source_of(param, s) != nullptr))
        throw_error(Errc::invalid_argument,
                    "optimizer \"{}\": {}: a pass that only writes state \"{}\" must write it for "
                    "every slice of a tile before commit, and \"{}\" was left out",
                    options_.name, table_.describe(tile),
                    table_.layout().states()[static_cast<std::size_t>(s)].name,
                    table_.param(param).name);
    }
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

// Gives the buffer to the device, at once or when it is its turn.
void Swapper::start_write(Lease& lease) noexcept {
  queue_write(lease);
  write_queued();
}

void Swapper::queue_write(Lease& lease) noexcept {
  lease.state = LeaseState::writing;
  ++lease.attempts;
  if (lease.pass != nullptr) ++lease.pass->writing;
  lease.next_write = nullptr;
  (last_write_ != nullptr ? last_write_->next_write : first_write_) = &lease;
  last_write_ = &lease;
}

// Starts the writes whose turn it is. A submission that is refused counts as a write that failed,
// and may be the end of its pass.
void Swapper::write_queued() noexcept {
  while (first_write_ != nullptr && writes_moving_ < most_moving_) {
    Lease& lease = *first_write_;
    first_write_ = lease.next_write;
    if (first_write_ == nullptr) last_write_ = nullptr;
    const TileRecord& tile = table_.tiles()[lease.tile];
    ++writes_moving_;
    try {
      lease.transfer->clear();
      for (int s = 0; s < table_.states(); ++s) {
        const auto i = static_cast<std::size_t>(s);
        if ((lease.writes & (1u << s)) == 0) continue;
        if (lease.sealed)
          lease.transfer->add_write(table_.section(tile, s), lease.section[i], lease.seals[i]);
        else
          lease.transfer->add_unsealed_write(table_.section(tile, s), lease.section[i]);
      }
      lease.transfer->submit(io::Service::write, write_done, &lease);
      lease.owes_seals = !lease.sealed;
    } catch (...) {
      --writes_moving_;
      lease.state = LeaseState::failed;
      lease.error = current_error(no_memory_);
      if (PassState* const pass = lease.pass) {
        --pass->writing;
        if (!pass->error) pass->error = explain(lease, "is committed and cannot be written");
        finish(*pass);
      }
      moved_.notify_all();
    }
  }
}

void Swapper::write_done(store::Transfer& transfer, void* context) {
  Lease& lease = *static_cast<Lease*>(context);
  Swapper& self = *lease.swapper;
  Lock lock(self.mutex_);
  PassState* pass = lease.pass;
  --self.writes_moving_;
  ++self.moves_;
  if (pass != nullptr) --pass->writing;
  if (transfer.ok()) {
    self.stats_.bytes_written += transfer.bytes();
    ++self.stats_.tiles_written;
    self.table_.tiles()[lease.tile].written |= lease.writes;
    self.release(lease);
    self.read_ahead_all();
  } else if (lease.attempts < write_attempts && !transfer.cancelled()) {
    ++self.stats_.write_retries;
    self.queue_write(lease);
  } else {
    lease.state = LeaseState::failed;
    lease.error = self.error_of(transfer);
    if (pass != nullptr && !pass->error)
      pass->error = self.explain(lease, "is committed and cannot be written");
  }
  if (pass != nullptr) self.finish(*pass);
  self.write_queued();  // which may end the pass as well
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
    stats_.compute_seconds += seconds_between(lease.handed_out, Clock::now());
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
