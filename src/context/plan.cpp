#include "context/plan.h"

#include <algorithm>

#include "base/byte_size.h"
#include "base/throw.h"
#include "sys/limits.h"

namespace spillway {
namespace {

std::int64_t wanted(const swap::Claim& claim) {
  return claim.pool_bytes + claim.cache_bytes + claim.resident_bytes + claim.metadata_bytes;
}

std::string line_of(const swap::Claim& claim) {
  std::string text = fmt::format("{}: pool {}", claim.name, format_bytes(claim.pool_bytes));
  if (claim.cache_bytes > 0) text += fmt::format(" + cache {}", format_bytes(claim.cache_bytes));
  return text + fmt::format(" + resident share {} + tables {}", format_bytes(claim.resident_bytes),
                            format_bytes(claim.metadata_bytes));
}

struct Room {
  std::int64_t bytes;
  std::string source;
};

// The tightest of what is left.
Room room_now(const sys::MemoryLimits& limits) {
  Room room{limits.available, "MemAvailable of this machine"};
  if (limits.cgroup_available < room.bytes)
    room = {limits.cgroup_available, "left in cgroup " + limits.cgroup_path};
  if (limits.address_space < room.bytes) room = {limits.address_space, "left under RLIMIT_AS"};
  return room;
}

}  // namespace

void Plan::admit(const void* owner, const swap::Claim& claim) {
  std::int64_t need = 0;  // beyond what is mapped already
  std::string sum;
  const auto add = [&](const swap::Claim& one) {
    need += std::max<std::int64_t>(0, wanted(one) - one.allocated_bytes);
    sum += (sum.empty() ? "" : "; ") + line_of(one);
  };
  for (const auto& [key, other] : claims_)
    if (key != owner) add(other);
  add(claim);
  const Room room = room_now(sys::memory_limits());
  if (need > room.bytes)
    throw_error(
        Errc::does_not_fit,
        "the plan needs {} more host memory ({} bytes: {}) and {} has {} ({} bytes); lower "
        "buffer_count or buffer_size of what stands in the sum, offload_param.max_in_cpu, or raise "
        "offload_optimizer.ratio so that less stays in memory",
        format_bytes(need), need, sum, room.source, format_bytes(room.bytes), room.bytes);
  // The ranks of this machine ask for about the same, but some may have theirs already.
  if (ranks_ > 1) {
    const std::int64_t machine = sys::memory_limits().total;
    std::int64_t all = 0;
    for (const auto& [key, other] : claims_)
      if (key != owner) all += wanted(other);
    all += wanted(claim);
    if (all > machine / ranks_)
      throw_error(
          Errc::does_not_fit,
          "the plan needs {} per rank ({}) and {} ranks share the {} of this machine; lower "
          "buffer_count, buffer_size or offload_param.max_in_cpu, or raise offload_optimizer.ratio",
          format_bytes(all), sum, ranks_, format_bytes(machine));
  }
  swap::Claim admitted = claim;
  admitted.allocated_bytes = wanted(claim);  // it is about to be
  claims_[owner] = std::move(admitted);
}

std::string Plan::describe() const {
  std::string text;
  std::int64_t sum = 0;
  for (const auto& [owner, claim] : claims_) {
    text += line_of(claim) + "\n";
    sum += wanted(claim);
  }
  const sys::MemoryLimits limits = sys::memory_limits();
  const Room room = room_now(limits);
  text += fmt::format("host memory: {} in all; {} has {} left\n", format_bytes(sum), room.source,
                      format_bytes(room.bytes));
  return text;
}

}  // namespace spillway
