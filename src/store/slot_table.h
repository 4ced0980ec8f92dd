#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace spillway::store {

enum class SlotId : std::uint32_t {};
inline constexpr SlotId no_slot{0xffffffffu};

/// The places where sections can lie: one extent per path, of a size that its class tells.
///
/// A slot is free, taken (it holds a section or is being written), or retired: given back while
/// reads of it are still in flight, and free as soon as the last of them has ended. Free slots of a
/// class are used in the order in which they became free, so that a pass that writes every section
/// runs over the file from front to back, and the retry of a failed write lands elsewhere.
///
/// take(), give_back(), pin() and unpin() allocate nothing. Not thread-safe; its owner holds a
/// lock.
class SlotTable {
 public:
  explicit SlotTable(int paths) : paths_(static_cast<std::size_t>(paths)) {}

  /// Room for `slots` more, in `classes` classes in all, so that add() does not allocate.
  void reserve(std::size_t slots, std::size_t classes);
  /// A new free slot, behind all others of its class. `offsets`: [bytes] of its extent per path.
  SlotId add(std::uint32_t size_class, int rotation, std::span<const std::int64_t> offsets);
  /// Takes up to `count` free slots of the class out of the table, preferring those further out in
  /// the files, so that the files can be cut. Looks only at the slots next in turn, four times as
  /// many as asked for and at least 64 (all of them, as a rule): the effort stays in proportion
  /// when a large reservation that was never written is given back piece by piece. Removed ids are
  /// used again by a later add().
  std::vector<SlotId> remove(std::uint32_t size_class, std::int64_t count);

  std::optional<SlotId> take(std::uint32_t size_class);
  void give_back(SlotId slot);
  /// Keeps a taken slot's bytes as they are until unpin(), whoever gives it back meanwhile.
  void pin(SlotId slot);
  void unpin(SlotId slot);

  std::int64_t offset(SlotId slot, int path) const {
    return offsets_[index(slot) * paths_ + static_cast<std::size_t>(path)];
  }
  int rotation(SlotId slot) const { return slots_[index(slot)].rotation; }
  std::uint32_t size_class(SlotId slot) const { return slots_[index(slot)].size_class; }
  std::int64_t count(std::uint32_t size_class) const { return list(size_class).count; }
  std::int64_t free(std::uint32_t size_class) const { return list(size_class).free; }

 private:
  enum class State : std::uint8_t { gone, free, taken, retired };
  struct Slot {
    std::uint32_t size_class = 0;
    std::uint32_t next = end_;  // in its class's free list
    std::uint32_t pins = 0;
    std::uint16_t rotation = 0;
    State state = State::gone;
  };
  struct List {
    std::uint32_t first = end_, last = end_;
    std::int64_t free = 0;
    std::int64_t count = 0;  // whatever their state
  };
  static constexpr std::uint32_t end_ = 0xffffffffu;

  static std::size_t index(SlotId slot) { return static_cast<std::size_t>(slot); }
  List list(std::uint32_t size_class) const {
    return size_class < lists_.size() ? lists_[size_class] : List{};
  }
  void append(std::uint32_t slot);
  std::int64_t reach(std::uint32_t slot) const;

  std::size_t paths_;
  std::vector<Slot> slots_;
  std::vector<std::int64_t> offsets_;  // slots_ x paths_
  std::vector<List> lists_;            // by class
  std::vector<std::uint32_t> gone_;    // ids to use again
};

}  // namespace spillway::store
