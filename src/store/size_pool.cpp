#include "store/size_pool.h"

#include <algorithm>

#include "base/check.h"

namespace spillway::store {
namespace {

std::int64_t most(const std::multiset<std::int64_t>& of) { return of.empty() ? 0 : *of.rbegin(); }

}  // namespace

// Every section may be between old and new, and one more slot may be an old one that is still being
// read: hence the `+ 1`, which is part of most_writable where there are more tiles than that.
// A tile count times sections per tile stays far below 2^63: both count ids of 32 bits.
std::int64_t SizePool::Owner::slots(std::int64_t most_per_tile, std::int64_t most_writable) const {
  return sections + std::min(sections + 1, most_per_tile * std::min(tiles + 1, most_writable));
}

std::int64_t SizePool::slots() const {
  std::int64_t total = 0;
  for (const auto& [id, owner] : owners_) {
    total += owner.slots(most(owner.per_tile), most(owner.writable));
  }
  return total;
}

std::int64_t SizePool::slots_with(const Part& part) const {
  const auto found = owners_.find(part.owner);
  Owner with;
  std::int64_t before = 0;
  if (found != owners_.end()) {
    const Owner& now = found->second;
    before = now.slots(most(now.per_tile), most(now.writable));
    with.sections = now.sections;
    with.tiles = now.tiles;
    with.per_tile = {most(now.per_tile)};
    with.writable = {most(now.writable)};
  }
  with.sections += part.sections;
  with.tiles += part.tiles;
  return slots() - before +
         with.slots(std::max(most(with.per_tile), part.per_tile),
                    std::max(most(with.writable), part.writable));
}

void SizePool::add(const Part& part) {
  Owner& owner = owners_[part.owner];
  owner.sections += part.sections;
  owner.tiles += part.tiles;
  owner.per_tile.insert(part.per_tile);
  owner.writable.insert(part.writable);
}

void SizePool::shrink(const Part& part, const Part& left) {
  const auto found = owners_.find(part.owner);
  SPILLWAY_CHECK(found != owners_.end() && left.sections <= part.sections,
                 "a reservation only shrinks");
  Owner& owner = found->second;
  owner.sections -= part.sections - left.sections;
  owner.tiles -= part.tiles - left.tiles;
  if (left.sections > 0) return;
  owner.per_tile.erase(owner.per_tile.find(part.per_tile));
  owner.writable.erase(owner.writable.find(part.writable));
  if (owner.sections == 0) owners_.erase(found);
}

}  // namespace spillway::store
