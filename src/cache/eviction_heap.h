#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/tensor_id.h"

namespace spillway::cache {

/// What may be evicted, the best victim on top: a max-heap that knows where each tensor stands,
/// so that any of them can be taken out or change its priority in O(log n).
///
/// Four children per node: half as deep as a binary heap, and siblings share a cache line.
/// 12 bytes per tensor inside, 4 per tensor ever seen.
class EvictionHeap {
 public:
  using Priority = std::uint64_t;

  bool empty() const { return ids_.empty(); }
  std::size_t size() const { return ids_.size(); }
  TensorId top() const { return ids_.front(); }
  Priority top_priority() const { return priorities_.front(); }
  bool contains(TensorId id) const { return id < places_.size() && places_[id] != nowhere; }

  /// Requires: contains(id) is false / true / true.
  void push(TensorId id, Priority priority);
  void erase(TensorId id);
  void change(TensorId id, Priority priority);

  /// Gives every tensor the priority that `priority_of` says. O(n).
  template <typename PriorityOf>
  void rebuild(PriorityOf priority_of) {
    for (std::size_t i = 0; i < ids_.size(); ++i) priorities_[i] = priority_of(ids_[i]);
    for (std::size_t i = ids_.size() / 4 + 1; i-- > 0;)
      if (i < ids_.size()) sink(i);
  }

  std::size_t heap_bytes() const {
    return priorities_.capacity() * sizeof(Priority) +
           (ids_.capacity() + places_.capacity()) * sizeof(std::uint32_t);
  }

 private:
  static constexpr std::uint32_t nowhere = ~std::uint32_t{0};

  void put(std::size_t place, TensorId id, Priority priority);
  void rise(std::size_t place);
  void sink(std::size_t place);

  std::vector<Priority> priorities_;
  std::vector<TensorId> ids_;
  std::vector<std::uint32_t> places_;  // by id
};

}  // namespace spillway::cache
