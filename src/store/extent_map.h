#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace spillway::store {

/// Free ranges of one number line (a file's bytes, or ids), kept coalesced.
///
/// Example: insert(0, 10), insert(20, 10), insert(10, 10) leaves the one range [0, 30).
/// Not thread-safe; its owner holds a lock.
///
/// Taking and giving back either happen or, if they throw for want of memory, do not.
class ExtentMap {
 public:
  /// Sets memory aside, so that `inserts` calls of insert() need none; what taking frees of it is
  /// kept from then on.
  void reserve(std::size_t inserts);
  /// Gives [start, start + length) back. Requires: length > 0 and nothing of it is free already
  /// (checked: a range given back twice would be handed out twice).
  void insert(std::int64_t start, std::int64_t length);
  /// Takes `length` from the lowest range that is long enough; nullopt when there is none.
  std::optional<std::int64_t> take(std::int64_t length);
  /// Takes [start, start + length), all of which must be free and in one range (checked).
  void take_at(std::int64_t start, std::int64_t length);
  /// Takes the range that ends at `end` and returns its start, or `end` itself if there is none:
  /// the new end of a line whose tail is not used any more.
  std::int64_t take_tail(std::int64_t end);

  std::int64_t total() const { return total_; }
  std::size_t ranges() const { return ranges_.size(); }

 private:
  using Ranges = std::map<std::int64_t, std::int64_t>;
  void add(std::int64_t start, std::int64_t length);
  void keep(Ranges::node_type node);

  Ranges ranges_;  // start -> length
  Ranges spares_;  // nodes set aside
  std::size_t reserved_ = 0;
  std::int64_t total_ = 0;
};

}  // namespace spillway::store
