#include "store/slot_table.h"

#include <algorithm>

#include "base/check.h"

namespace spillway::store {
namespace {

constexpr std::int64_t least_window = 64;

// Doubles, as push_back would, but before anything has been changed.
template <typename T>
void make_room(std::vector<T>& in, std::size_t more) {
  const std::size_t wanted = in.size() + more;
  if (wanted > in.capacity()) in.reserve(std::max(wanted, 2 * in.capacity()));
}

}  // namespace

void SlotTable::reserve(std::size_t slots, std::size_t classes) {
  make_room(slots_, slots);
  make_room(offsets_, slots * paths_);
  gone_.reserve(slots_.capacity());
  if (lists_.size() < classes) lists_.resize(classes);
}

SlotId SlotTable::add(std::uint32_t size_class, int rotation,
                      std::span<const std::int64_t> offsets) {
  SPILLWAY_CHECK(offsets.size() == paths_, "a slot has one extent per path");
  if (lists_.size() <= size_class) lists_.resize(size_class + std::size_t{1});
  std::uint32_t slot = 0;
  if (gone_.empty()) {
    slot = static_cast<std::uint32_t>(slots_.size());
    SPILLWAY_CHECK(slot < end_, "slots are counted in 32 bits");
    slots_.emplace_back();
    offsets_.resize(slots_.size() * paths_);
  } else {
    slot = gone_.back();
    gone_.pop_back();
  }
  slots_[slot].size_class = size_class;
  slots_[slot].rotation = static_cast<std::uint16_t>(rotation);
  std::copy(offsets.begin(), offsets.end(),
            offsets_.begin() + static_cast<std::ptrdiff_t>(slot * paths_));
  ++lists_[size_class].count;
  append(slot);
  return SlotId{slot};
}

// Where a slot ends matters only for the order among slots of one size: where it starts will do.
std::int64_t SlotTable::reach(std::uint32_t slot) const {
  const auto first = offsets_.begin() + static_cast<std::ptrdiff_t>(slot * paths_);
  return *std::max_element(first, first + static_cast<std::ptrdiff_t>(paths_));
}

std::vector<SlotId> SlotTable::remove(std::uint32_t size_class, std::int64_t count) {
  std::vector<SlotId> removed;
  if (size_class >= lists_.size() || count <= 0) return removed;
  List& list = lists_[size_class];
  const auto most = static_cast<std::size_t>(std::max(least_window, 4 * count));
  std::vector<std::uint32_t> window;  // the front of the list
  std::uint32_t rest = list.first;
  for (; rest != end_ && window.size() < most; rest = slots_[rest].next) window.push_back(rest);

  std::vector<std::uint32_t> furthest = window;
  std::sort(furthest.begin(), furthest.end(), [this](std::uint32_t a, std::uint32_t b) {
    const std::int64_t at_a = reach(a), at_b = reach(b);
    return at_a != at_b ? at_a > at_b : a > b;
  });
  furthest.resize(std::min(furthest.size(), static_cast<std::size_t>(count)));
  removed.reserve(furthest.size());
  for (const std::uint32_t slot : furthest) {
    slots_[slot].state = State::gone;
    gone_.push_back(slot);
    removed.push_back(SlotId{slot});
  }
  list.count -= static_cast<std::int64_t>(furthest.size());
  list.free -= static_cast<std::int64_t>(furthest.size());

  // What is left of the window goes back to the front, from behind.
  list.first = rest;
  if (rest == end_) list.last = end_;
  for (auto slot = window.rbegin(); slot != window.rend(); ++slot) {
    if (slots_[*slot].state == State::gone) continue;
    slots_[*slot].next = list.first;
    list.first = *slot;
    if (list.last == end_) list.last = *slot;
  }
  return removed;
}

void SlotTable::append(std::uint32_t slot) {
  List& list = lists_[slots_[slot].size_class];
  slots_[slot].state = State::free;
  slots_[slot].next = end_;
  if (list.last == end_) {
    list.first = slot;
  } else {
    slots_[list.last].next = slot;
  }
  list.last = slot;
  ++list.free;
}

std::optional<SlotId> SlotTable::take(std::uint32_t size_class) {
  if (size_class >= lists_.size() || lists_[size_class].first == end_) return std::nullopt;
  List& list = lists_[size_class];
  const std::uint32_t slot = list.first;
  list.first = slots_[slot].next;
  if (list.first == end_) list.last = end_;
  --list.free;
  slots_[slot].state = State::taken;
  return SlotId{slot};
}

void SlotTable::give_back(SlotId slot) {
  Slot& entry = slots_[index(slot)];
  SPILLWAY_CHECK(entry.state == State::taken, "only a taken slot is given back");
  if (entry.pins > 0) {
    entry.state = State::retired;
  } else {
    append(static_cast<std::uint32_t>(slot));
  }
}

void SlotTable::pin(SlotId slot) {
  Slot& entry = slots_[index(slot)];
  SPILLWAY_CHECK(entry.state == State::taken, "only a slot that holds a section is read");
  ++entry.pins;
}

void SlotTable::unpin(SlotId slot) {
  Slot& entry = slots_[index(slot)];
  SPILLWAY_CHECK(entry.pins > 0, "a pin is taken off once");
  if (--entry.pins == 0 && entry.state == State::retired) append(static_cast<std::uint32_t>(slot));
}

}  // namespace spillway::store
