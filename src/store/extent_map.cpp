#include "store/extent_map.h"

#include <iterator>

#include "base/check.h"

namespace spillway::store {

void ExtentMap::insert(std::int64_t start, std::int64_t length) {
  SPILLWAY_CHECK(start >= 0 && length > 0, "an extent has a start and a length");
  auto next = ranges_.lower_bound(start);
  SPILLWAY_CHECK(next == ranges_.end() || start + length <= next->first,
                 "an extent was given back twice");
  total_ += length;
  if (next != ranges_.begin()) {
    auto before = std::prev(next);
    const std::int64_t before_end = before->first + before->second;
    SPILLWAY_CHECK(before_end <= start, "an extent was given back twice");
    if (before_end == start) {
      before->second += length;
      if (next != ranges_.end() && start + length == next->first) {
        before->second += next->second;
        ranges_.erase(next);
      }
      return;
    }
  }
  if (next != ranges_.end() && start + length == next->first) {
    length += next->second;
    next = ranges_.erase(next);
  }
  ranges_.emplace_hint(next, start, length);
}

std::optional<std::int64_t> ExtentMap::take(std::int64_t length) {
  if (length > total_) return std::nullopt;
  for (auto range = ranges_.begin(); range != ranges_.end(); ++range) {
    if (range->second < length) continue;
    const std::int64_t start = range->first;
    const std::int64_t rest = range->second - length;
    const auto after = ranges_.erase(range);
    if (rest > 0) ranges_.emplace_hint(after, start + length, rest);
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
  const auto after = std::next(range);
  if (range->first < start)
    range->second = start - range->first;
  else
    ranges_.erase(range);
  if (start + length < end) ranges_.emplace_hint(after, start + length, end - start - length);
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
