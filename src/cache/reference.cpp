#include <algorithm>
#include <limits>
#include <list>
#include <set>
#include <utility>

#include "base/check.h"
#include "cache/tensor_id.h"

#include "spillway/cache_reference.h"

namespace spillway {
namespace {

using cache::TensorId;

constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

// For each access the index of the next access of the same tensor.
std::vector<std::size_t> next_uses(std::span<const TensorId> trace, std::size_t tensors) {
  std::vector<std::size_t> next(trace.size()), seen(tensors, never);
  for (std::size_t i = trace.size(); i-- > 0;) {
    next[i] = seen[trace[i]];
    seen[trace[i]] = i;
  }
  return next;
}

// What is in memory, by next use.
struct ByNextUse {
  std::set<std::pair<std::size_t, TensorId>> order;
  std::vector<std::size_t> use;        // `never` where the tensor is not in memory
  std::vector<std::int64_t> resident;  // [elements]
  std::int64_t free;

  ByNextUse(std::size_t tensors, std::int64_t cap)
      : use(tensors, never), resident(tensors, 0), free(cap) {}

  void take_out(TensorId id) {
    if (resident[id] == 0) return;
    order.erase({use[id], id});
    free += std::exchange(resident[id], 0);
  }
  void put_in(TensorId id, std::int64_t count, std::size_t next) {
    if (count == 0 || next == never) return;
    SPILLWAY_CHECK(count <= free, "the reference exceeds its cap");
    order.emplace(next, id);
    use[id] = next;
    resident[id] = count;
    free -= count;
  }
};

}  // namespace

std::vector<std::int64_t> lru_hits(std::span<const std::uint32_t> trace,
                                   std::span<const std::int64_t> elements, std::int64_t cap) {
  std::vector<std::int64_t> hits(trace.size(), 0);
  std::list<TensorId> recent;  // the latest first
  std::vector<std::list<TensorId>::iterator> place(elements.size(), recent.end());
  std::int64_t free = cap;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const TensorId id = trace[i];
    if (place[id] != recent.end()) {
      hits[i] = elements[id];
      recent.splice(recent.begin(), recent, place[id]);
      continue;
    }
    if (elements[id] > cap) continue;
    while (free < elements[id]) {
      free += elements[recent.back()];
      place[recent.back()] = recent.end();
      recent.pop_back();
    }
    free -= elements[id];
    place[id] = recent.insert(recent.begin(), id);
  }
  return hits;
}

std::vector<std::int64_t> belady_hits(std::span<const std::uint32_t> trace,
                                      std::span<const std::int64_t> elements, std::int64_t cap) {
  std::vector<std::int64_t> hits(trace.size(), 0);
  const auto next = next_uses(trace, elements.size());
  ByNextUse memory(elements.size(), cap);
  std::vector<TensorId> victims;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const TensorId id = trace[i];
    if (memory.resident[id] > 0) {
      hits[i] = elements[id];
      memory.take_out(id);
      memory.put_in(id, elements[id], next[i]);
      continue;
    }
    std::int64_t room = memory.free;
    victims.clear();
    for (auto at = memory.order.rbegin();
         at != memory.order.rend() && room < elements[id] && at->first > next[i]; ++at) {
      room += elements[at->second];
      victims.push_back(at->second);
    }
    if (room < elements[id]) continue;
    for (const TensorId victim : victims) memory.take_out(victim);
    memory.put_in(id, elements[id], next[i]);
  }
  return hits;
}

std::vector<std::int64_t> fractional_hits(std::span<const std::uint32_t> trace,
                                          std::span<const std::int64_t> elements,
                                          std::int64_t cap) {
  std::vector<std::int64_t> hits(trace.size(), 0);
  const auto next = next_uses(trace, elements.size());
  ByNextUse memory(elements.size(), cap);
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const TensorId id = trace[i];
    hits[i] = memory.resident[id];
    memory.take_out(id);
    while (memory.free < elements[id] && !memory.order.empty()) {
      const auto [use, victim] = *memory.order.rbegin();
      if (use <= next[i]) break;
      const std::int64_t rest =
          std::max<std::int64_t>(0, memory.resident[victim] - (elements[id] - memory.free));
      memory.take_out(victim);
      memory.put_in(victim, rest, use);
    }
    memory.put_in(id, std::min(elements[id], memory.free), next[i]);
  }
  return hits;
}

double hit_rate(std::span<const std::int64_t> hits, std::span<const std::uint32_t> trace,
                std::span<const std::int64_t> elements, std::size_t from, std::size_t to) {
  std::int64_t hit = 0, all = 0;
  for (std::size_t i = from; i < to; ++i) {
    hit += hits[i];
    all += elements[trace[i]];
  }
  return all == 0 ? 0.0 : static_cast<double>(hit) / static_cast<double>(all);
}

}  // namespace spillway
