#include "cache/order.h"

#include <algorithm>

namespace spillway::cache {

void Order::learn(std::vector<TensorId>& accesses) {
  std::erase(accesses, no_tensor);
  sequence_.swap(accesses);
  TensorId largest = 0;
  for (const TensorId id : sequence_) largest = std::max(largest, id);
  starts_.assign(sequence_.empty() ? 0 : std::size_t{largest} + 2, 0);
  positions_.resize(sequence_.size());
  // Counting sort: sizes of runs, their ends, then each position from the last to the first.
  for (const TensorId id : sequence_) ++starts_[id];
  Position end = 0;
  for (Position& start : starts_) start = end += start;
  for (Position position = length(); position-- > 0;)
    positions_[--starts_[sequence_[position]]] = position;
}

void Order::forget(TensorId id) {
  if (std::size_t{id} + 1 >= starts_.size()) return;
  for (Position i = starts_[id]; i < starts_[id + 1]; ++i) sequence_[positions_[i]] = no_tensor;
}

Order::Position Order::next(TensorId id, Position from) const {
  if (std::size_t{id} + 1 >= starts_.size()) return none;
  const auto begin = positions_.begin() + starts_[id];
  const auto end = positions_.begin() + starts_[id + 1];
  const auto found = std::lower_bound(begin, end, from);
  // A forgotten id may be given to another tensor, which must not inherit this order.
  if (found == end || sequence_[*found] != id) return none;
  return *found;
}

std::size_t Order::heap_bytes() const {
  return sequence_.capacity() * sizeof(TensorId) +
         (starts_.capacity() + positions_.capacity()) * sizeof(Position);
}

}  // namespace spillway::cache
