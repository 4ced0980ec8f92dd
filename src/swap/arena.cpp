#include "swap/arena.h"

#include <cstring>

#include "base/align.h"
#include "base/check.h"

namespace spillway::swap {

void Arena::add_region(std::span<std::byte> memory) {
  if (memory.empty()) return;
  const std::int64_t start = regions_.empty() ? 0 : regions_.back().end() + page_bytes;
  regions_.push_back({start, memory});
  free_.insert(start, static_cast<std::int64_t>(memory.size()));
  total_ += static_cast<std::int64_t>(memory.size());
}

std::byte* Arena::place(std::int64_t offset) const {
  for (const Region& region : regions_)
    if (offset >= region.start && offset < region.end())
      return region.memory.data() + (offset - region.start);
  SPILLWAY_CHECK(false, "a block lies in a region");
  return nullptr;
}

std::int64_t Arena::offset(const std::byte* at) const {
  for (const Region& region : regions_)
    if (at >= region.memory.data() && at < region.memory.data() + region.memory.size())
      return region.start + (at - region.memory.data());
  SPILLWAY_CHECK(false, "a block lies in a region");
  return 0;
}

std::byte* Arena::take(std::int64_t bytes, Owner owner) {
  free_.reserve(blocks_.size() + 2);  // giving back and moving must not want memory
  const auto at = free_.take(bytes);
  if (!at) return nullptr;
  try {
    blocks_[*at] = {bytes, owner};
  } catch (...) {
    free_.insert(*at, bytes);
    throw;
  }
  return place(*at);
}

void Arena::give(std::byte* at) {
  const auto block = blocks_.find(offset(at));
  SPILLWAY_CHECK(block != blocks_.end(), "only what was taken is given back");
  free_.insert(block->first, block->second.bytes);
  blocks_.erase(block);
}

void Arena::own(const std::byte* at, Owner owner) {
  const auto block = blocks_.find(offset(at));
  SPILLWAY_CHECK(block != blocks_.end(), "only what was taken has an owner");
  block->second.owner = owner;
}

bool Arena::make_room(std::int64_t bytes, const std::function<bool(Owner)>& movable,
                      const std::function<void(Owner, std::byte*)>& moved) {
  if (bytes > free_.total()) return false;
  for (const Region& region : regions_) {
    // A stretch between two blocks that must stay: what is free in it can become one run.
    auto first = blocks_.lower_bound(region.start);
    std::int64_t start = region.start, held = 0;
    for (auto block = first;; ++block) {
      const bool at_end = block == blocks_.end() || block->first >= region.end();
      if (at_end || !movable(block->second.owner)) {
        const std::int64_t end = at_end ? region.end() : block->first;
        if (end - start - held >= bytes) {
          slide(first, start, end, moved);
          return true;
        }
        if (at_end) break;
        start = block->first + block->second.bytes;
        held = 0;
        first = std::next(block);
        continue;
      }
      held += block->second.bytes;
    }
  }
  return false;
}

// Moves the blocks from `from` on that lie in [start, end) down to `start`, one behind the other.
void Arena::slide(std::map<std::int64_t, Block>::iterator from, std::int64_t start,
                  std::int64_t end, const std::function<void(Owner, std::byte*)>& moved) {
  std::int64_t to = start;
  while (from != blocks_.end() && from->first < end) {
    const std::int64_t at = from->first;
    const Block block = from->second;
    if (at != to) {
      std::memmove(place(to), place(at), static_cast<std::size_t>(block.bytes));
      free_.take_at(to, at - to);  // the gap before it
      free_.insert(to + block.bytes, at - to);
      auto node = blocks_.extract(from++);
      node.key() = to;
      blocks_.insert(from, std::move(node));
      moved(block.owner, place(to));
    } else {
      ++from;
    }
    to += block.bytes;
  }
}

}  // namespace spillway::swap
