#pragma once

#include <cstdint>
#include <map>
#include <set>

namespace spillway::store {

/// One slot size and everybody who needs slots of it: how many slots there must be.
///
/// Each owner (a swapper) writes at most `writable` of its tiles at a time, so its reservations
/// share one lot of spares; two owners may write at once, so they do not share.
///
/// Example: one owner, 100 tiles with 3 sections of this size, 5 writable: 300 + 3 * 5 slots. One
/// tile with one section: 1 + 2, for its old slot may still be read when the next write begins.
class SizePool {
 public:
  /// A reservation's part in this size.
  struct Part {
    int owner = 0;
    std::int64_t sections = 0;
    std::int64_t tiles = 0;     ///< that have such a section
    std::int64_t per_tile = 0;  ///< at most, in one tile
    std::int64_t writable = 0;  ///< tiles of the owner between old and new at a time, at most
  };

  explicit SizePool(std::int64_t size) : size_(size) {}

  std::int64_t size() const { return size_; }
  bool empty() const { return owners_.empty(); }
  /// Slots that must exist, spares included.
  std::int64_t slots() const;
  /// The same with `part` added.
  std::int64_t slots_with(const Part& part) const;

  void add(const Part& part);
  /// `part` has shrunk to `left` (left.sections == 0: it is gone).
  void shrink(const Part& part, const Part& left);

 private:
  struct Owner {
    std::int64_t sections = 0, tiles = 0;
    std::multiset<std::int64_t> per_tile, writable;  // of its reservations
    std::int64_t slots(std::int64_t most_per_tile, std::int64_t most_writable) const;
  };

  std::int64_t size_;
  std::map<int, Owner> owners_;
};

}  // namespace spillway::store
