// Reading tiles, and reading them ahead.

#include <algorithm>

#include "base/align.h"
#include "swap/swapper.h"

namespace spillway::swap {
namespace {

// [bytes] that keep a device busy in one direction while the other one goes on as well.
constexpr std::int64_t busy_bytes = 4 * MiB;

}  // namespace

// Tiles that are read, or written, at the same time, at most.
//
// Some devices report nothing before their queue is empty (a virtual one interrupts then), so that
// what is under way comes back at once. With all buffers in one direction the device would idle
// until the engine has done with the first of them. With half of them on the way in, as many are on
// the way out when they arrive, and come back free: the I/O thread refills those itself, while the
// engine computes. A larger half leaves longer between two such moments than a smaller one does.
// Buffers that are small beside what keeps a device busy are not held back.
int Swapper::most_moving_of(int buffers, std::int64_t tile_bytes) {
  const std::int64_t tile = std::max<std::int64_t>(tile_bytes, 1);
  const std::int64_t busy = (busy_bytes + tile - 1) / tile;
  return static_cast<int>(
      std::min<std::int64_t>(buffers, std::max<std::int64_t>((buffers + 1) / 2, busy)));
}

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
  ++pass.reading, ++reads_moving_;
  try {
    lease.transfer->clear();
    for (int s = 0; s < table_.states(); ++s)
      if (lease.reads & (1u << s))
        lease.transfer->add_read(table_.section(tile, s),
                                 lease.section[static_cast<std::size_t>(s)]);
    lease.transfer->submit(service, read_done, &lease, section_arrived);
  } catch (...) {
    --pass.reading, --reads_moving_;
    release(lease);
    throw;
  }
}

// A thread in next() that waits for the tile makes use of the time: see verify_arrived().
void Swapper::section_arrived(store::Transfer&, void* context) {
  const Lease& lease = *static_cast<Lease*>(context);
  Swapper& self = *lease.swapper;
  const Lock lock(self.mutex_);
  ++self.moves_;
  if (lease.claimed) self.moved_.notify_all();
}

void Swapper::read_done(store::Transfer& transfer, void* context) {
  Lease& lease = *static_cast<Lease*>(context);
  Swapper& self = *lease.swapper;
  Lock lock(self.mutex_);
  PassState& pass = *lease.pass;
  --pass.reading, --self.reads_moving_;
  ++self.moves_;
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
    if (reads_moving_ >= most_moving_) return;
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

}  // namespace spillway::swap
