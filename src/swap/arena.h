#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "store/extent_map.h"

namespace spillway::swap {

/// The CPU cache's memory: blocks of many sizes in a few regions, moved together when no free run
/// is long enough for the next one.
///
/// A cache that is nearly full of tensors of mixed sizes always has room in pieces; without moving,
/// its last tenth would never be used. Not thread-safe; its owner holds a lock.
class Arena {
 public:
  /// Whose a block is.
  using Owner = void*;

  /// `memory` outlives the arena.
  void add_region(std::span<std::byte> memory);
  /// Null where no free run of `bytes` (> 0) is left.
  std::byte* take(std::int64_t bytes, Owner owner);
  void give(std::byte* at);
  /// Says whose a block is that was taken before its owner was made.
  void own(const std::byte* at, Owner owner);
  /// Moves blocks for which `movable(owner)` holds so that a run of `bytes` becomes free, and tells
  /// the owners their new place by `moved(owner, to)`. False, with everything in its place, where
  /// that cannot be. O(blocks).
  bool make_room(std::int64_t bytes, const std::function<bool(Owner)>& movable,
                 const std::function<void(Owner, std::byte*)>& moved);

  std::int64_t total_bytes() const { return total_; }
  std::int64_t used_bytes() const { return total_ - free_.total(); }

 private:
  struct Block {
    std::int64_t bytes = 0;
    Owner owner = nullptr;
  };
  struct Region {
    std::int64_t start = 0;  // on the line of all regions, with a gap between two
    std::span<std::byte> memory;
    std::int64_t end() const { return start + static_cast<std::int64_t>(memory.size()); }
  };
  std::byte* place(std::int64_t offset) const;
  std::int64_t offset(const std::byte* at) const;
  void slide(std::map<std::int64_t, Block>::iterator from, std::int64_t start, std::int64_t end,
             const std::function<void(Owner, std::byte*)>& moved);

  std::vector<Region> regions_;
  std::map<std::int64_t, Block> blocks_;  // by offset
  store::ExtentMap free_;
  std::int64_t total_ = 0;
};

}  // namespace spillway::swap
