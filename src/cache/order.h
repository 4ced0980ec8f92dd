#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/tensor_id.h"

namespace spillway::cache {

/// The order in which one pass used its tensors, and where in it each tensor occurs.
///
/// Occurrences are kept as positions sorted by tensor, with the start of each tensor's run:
///   accesses  a b c b a    positions  a: 0 4 | b: 1 3 | c: 2    starts  0 2 4 5
/// which is 8 bytes per access and 4 per tensor, half of what links in both directions take.
/// Not thread-safe; its owner holds a lock.
class Order {
 public:
  using Position = std::uint32_t;
  static constexpr Position none = ~Position{0};
  static constexpr std::size_t max_length = none - 1;

  /// Replaces what was known by `accesses`, whose storage it takes; `accesses` gets the old one.
  /// Entries that are `no_tensor` are left out. O(accesses + largest id).
  void learn(std::vector<TensorId>& accesses);
  void clear() { *this = Order(); }
  /// The places of `id` are empty from now on. O(its occurrences).
  void forget(TensorId id);

  Position length() const { return static_cast<Position>(sequence_.size()); }
  /// `no_tensor` where the tensor was forgotten.
  TensorId at(Position position) const { return sequence_[position]; }
  std::span<const TensorId> sequence() const { return sequence_; }
  /// The first occurrence of `id` at or after `from`, or `none`. O(log of its occurrences).
  Position next(TensorId id, Position from) const;

  std::size_t heap_bytes() const;

 private:
  std::vector<TensorId> sequence_;
  std::vector<Position> starts_;  // of each id's run in positions_, and the end of the last run
  std::vector<Position> positions_;
};

}  // namespace spillway::cache
