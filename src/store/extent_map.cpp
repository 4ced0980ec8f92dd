#include "store/extent_map.h"

#include <iterator>
#include <utility>

#include "base/check.h"

namespace spillway::store {

void ExtentMap::reserve(std::size_t inserts) {
  reserved_ = inserts;
  while (spares_.size() < inserts)
    spares_.emplace(spares_.empty() ? 0 : spares_.rbegin()->first + 1, 0);
}

// A node that is not needed any more.
void ExtentMap::keep(Ranges::node_type node) {
  if (spares_.size() >= reserved_) return;
  node.key() = spares_.empty() ? 0 : spares_.rbegin()->first + 1;
  spares_.insert(std::move(node));
}

// A range that touches no other.
void ExtentMap::add(std::int64_t start, std::int64_t length) {
  if (spares_.empty()) {
    ranges_.emplace(start, length);
    return;
  }
  auto node = spares_.extract(spares_.begin());
  node.key() = start;
  node.mapped() = length;
  ranges_.insert(std::move(node));
}

void ExtentMap::insert(std::int64_t start, std::int64_t length) {
  SPILLWAY_CHECK(start >= 0 && length > 0, "an extent has a start and a length");
  auto next = ranges_.lower_bound(start);
  SPILLWAY_CHECK(next == ranges_.end() || start + length <= next->first,
                 "an extent was given back twice");
  if (next != ranges_.begin()) {
    auto before = std::prev(next);
    const std::int64_t before_end = before->first + before->second;
    SPILLWAY_CHECK(before_end <= start, "an extent was given back twice");
    if (before_end == start) {
      total_ += length;
      before->second += length;
      if (next != ranges_.end() && start + length == next->first) {
        before->second += next->second;
        ranges_.erase(next);
      }
      return;
    }
  }
  if (next != ranges_.end() && start + length == next->first) {
    auto node = ranges_.extract(next);
    node.key() = start;
    node.mapped() += length;
    ranges_.insert(std::move(node));
  } else {
    add(start, length);
  }
  total_ += length;
}

std::optional<std::int64_t> ExtentMap::take(std::int64_t length) {
  if (length > total_) return std::nullopt;
  for (auto range = ranges_.begin(); range != ranges_.end(); ++range) {
    if (range->second < length) continue;
    const std::int64_t start = range->first;
    const std::int64_t rest = range->second - length;
    auto node = ranges_.extract(range);
    if (rest > 0) {
      node.key() = start + length;
      node.mapped() = rest;
      ranges_.insert(std::move(node));
    } else {
      keep(std::move(node));
    }
    total_ -= length;
    return start;
  }
  return std::nullopt;
}

void ExtentMap::take_at(std::int64_t start, std::int64_t length) {
  auto range = ranges_.upper_bound(start);
  SPILLWAY_CHECK(range != ranges_.begin(), "only what is free is taken");
  --range;
  const std::int64_t end = range->first + range->second;
  SPILLWAY_CHECK(length > 0 && start + length <= end, "only what is free is taken");
  if (range->first < start) {
    if (start + length < end) add(start + length, end - start - length);
    range->second = start - range->first;
  } else {
    auto node = ranges_.extract(range);
    if (start + length < end) {
      node.key() = start + length;
      node.mapped() = end - start - length;
      ranges_.insert(std::move(node));
    } else {
      keep(std::move(node));
    }
  }
  total_ -= length;
}

std::int64_t ExtentMap::take_tail(std::int64_t end) {
  if (ranges_.empty()) return end;
  const auto last = std::prev(ranges_.end());
  if (last->first + last->second != end) return end;
  const std::int64_t start = last->first;
  total_ -= last->second;
  ranges_.erase(last);
  return start;
}

}  // namespace spillway::store
