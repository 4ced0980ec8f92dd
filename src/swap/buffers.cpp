// Leases and their buffers: who gets one, and who gives one up.

#include <algorithm>

#include "base/check.h"
#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {

void Swapper::timed_out(const char* what) const {
  throw_error(Errc::timeout,
              "optimizer \"{}\": waits for {}, in vain for {:.1f} s (io.timeout); {}",
              options_.name, what, io_.timeout,
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
  lease.reads = lease.writes = lease.verified = 0;
  lease.sealed = lease.owes_seals = false;
  lease.sourced = lease.unfilled = 0;
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
    at += store_->footprint(table_.section(tile, s));
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

}  // namespace spillway::swap
