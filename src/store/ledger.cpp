#include "store/ledger.h"

#include <algorithm>
#include <new>
#include <set>
#include <utility>

#include "base/align.h"
#include "base/check.h"
#include "base/throw.h"
#include "store/seal.h"
#include "store/size_class.h"

namespace spillway::store {
namespace {

constexpr std::int64_t most_bytes = std::int64_t{1} << 62;
constexpr std::int64_t most_ids = 0xfffffffe;

std::uint32_t number(SectionId id) { return static_cast<std::uint32_t>(id); }

}  // namespace

Ledger::Ledger(Stripe stripe, std::int64_t alignment, bool trailers)
    : stripe_(std::move(stripe)),
      alignment_(alignment),
      trailers_(trailers),
      slots_(stripe_.paths()),
      free_(static_cast<std::size_t>(stripe_.paths())),
      ends_(static_cast<std::size_t>(stripe_.paths()), 0),
      loads_(static_cast<std::size_t>(stripe_.paths()), 0) {
  SPILLWAY_CHECK(alignment % page_bytes == 0, "sections keep to pages");
}

std::int64_t Ledger::body(std::int64_t payload) const {
  const std::int64_t pages = align_up(payload, page_bytes);
  return align_up(pages + (trailers_ ? trailer_bytes : 0), alignment_);
}

std::int64_t Ledger::footprint(std::int64_t payload) const {
  const std::int64_t bytes = body(payload);
  return bytes + stripe_.guards(bytes) * stripe_.guard();
}

Ledger::Plan Ledger::plan(std::span<const std::int64_t> tiles, int sections_per_tile,
                          int tiles_in_flight, int owner) const {
  SPILLWAY_CHECK(sections_per_tile > 0 && tiles_in_flight >= 0, "tiles have sections");
  SPILLWAY_CHECK(tiles.size() % static_cast<std::size_t>(sections_per_tile) == 0,
                 "every tile has all sections");
  if (static_cast<std::int64_t>(tiles.size()) >
      most_ids - static_cast<std::int64_t>(sections_.size())) {
    throw_error(Errc::no_space, "{} sections beside {} are more than a store can count",
                tiles.size(), sections_.size());
  }
  Plan plan;
  plan.sections_per_tile = sections_per_tile;
  plan.owner = owner;
  plan.sections.reserve(tiles.size());
  std::int64_t total = 0;
  for (const std::int64_t payload : tiles) {
    if (payload < 0) {
      throw_error(Errc::invalid_argument, "a section of {} bytes cannot be", payload);
    }
    total = payload > most_bytes ? most_bytes + 1 : total + payload;
    // Slots and spares take up to 3.375 times the footprints.
    if (total > most_bytes / 4) {
      throw_error(Errc::no_space, "more than {} bytes of sections are beyond every file system",
                  most_bytes / 4);
    }
    Section section;
    section.payload = payload;
    section.state = payload > 0 ? Section::State::live : Section::State::absent;
    plan.sections.push_back(section);
  }
  sort_into_classes(plan, std::int64_t{tiles_in_flight} + 1);
  lay_out(plan);
  return plan;
}

// Sets every section's class, and what the reservation needs of each class.
void Ledger::sort_into_classes(Plan& plan, std::int64_t writable) const {
  const auto per_tile = static_cast<std::size_t>(plan.sections_per_tile);
  std::map<std::int64_t, std::int64_t> tiles_of;  // body -> tiles that have one
  std::vector<std::int64_t> in_tile;
  for (std::size_t at = 0; at < plan.sections.size(); at += per_tile) {
    in_tile.clear();
    for (std::size_t i = at; i < at + per_tile; ++i) {
      if (plan.sections[i].payload == 0) continue;
      const std::int64_t bytes = body(plan.sections[i].payload);
      if (std::find(in_tile.begin(), in_tile.end(), bytes) != in_tile.end()) continue;
      in_tile.push_back(bytes);
      ++tiles_of[bytes];
    }
  }
  std::vector<FootprintDemand> demands;
  demands.reserve(tiles_of.size());
  for (const auto& [bytes, tiles] : tiles_of) demands.push_back({bytes, tiles});
  std::set<std::int64_t> existing;
  for (const auto& [size, index] : class_of_size_) existing.insert(size);

  std::map<std::int64_t, std::uint32_t> class_of;  // body -> class
  for (const auto& [bytes, size] : choose_slot_sizes(demands, existing, writable)) {
    auto known = class_of_size_.find(size);
    if (known != class_of_size_.end()) {
      class_of[bytes] = known->second;
    } else {
      auto fresh = plan.new_classes.find(size);
      if (fresh == plan.new_classes.end()) {
        const std::uint32_t index = free_class(plan);
        fresh = plan.new_classes.emplace(size, index).first;
      }
      class_of[bytes] = fresh->second;
    }
  }

  std::map<std::uint32_t, std::int64_t> count;  // class -> sections in the tile at hand
  for (std::size_t at = 0; at < plan.sections.size(); at += per_tile) {
    count.clear();
    for (std::size_t i = at; i < at + per_tile; ++i) {
      Section& section = plan.sections[i];
      if (section.payload == 0) continue;
      section.size_class = class_of[body(section.payload)];
      ++count[section.size_class];
    }
    for (const auto& [size_class, sections] : count) {
      SizePool::Part& part = plan.parts[size_class];
      part.owner = plan.owner;
      part.sections += sections;
      ++part.tiles;
      part.per_tile = std::max(part.per_tile, sections);
      part.writable = writable;
    }
  }
}

// The index for one more class of the plan: one that nobody uses any more, or the next.
std::uint32_t Ledger::free_class(const Plan& plan) const {
  const auto taken = [&plan](std::uint32_t index) {
    return std::any_of(plan.new_classes.begin(), plan.new_classes.end(),
                       [index](const auto& entry) { return entry.second == index; });
  };
  for (std::uint32_t index = 0;; ++index) {
    const bool in_use =
        index < classes_.size() && (!classes_[index].empty() || slots_.count(index) > 0);
    if (!in_use && !taken(index)) return index;
  }
}

// Finds room for the slots that are missing: tile by tile, so that what is written together lies
// together, then the spares; in the files' free space first, then behind their ends.
void Ledger::lay_out(Plan& plan) const {
  plan.ends = ends_;
  plan.free = free_;
  plan.loads = loads_;
  plan.rotation = rotation_;
  std::map<std::uint32_t, std::int64_t> size_of;
  std::map<std::uint32_t, std::int64_t> missing;
  for (const auto& [size, index] : plan.new_classes) size_of[index] = size;
  for (const auto& [index, part] : plan.parts) {
    const auto fresh = size_of.find(index);
    const SizePool pool = fresh != size_of.end() ? SizePool(fresh->second) : classes_[index];
    size_of[index] = pool.size();
    missing[index] = std::max<std::int64_t>(0, pool.slots_with(part) - slots_.count(index));
  }
  const auto add_slot = [&](std::uint32_t index) {
    const std::int64_t size = size_of[index];
    const int rotation = stripe_.next_rotation(plan.loads, size, plan.rotation + 1);
    plan.rotation = rotation;
    plan.slots.push_back({index, rotation});
    for (std::size_t path = 0; path < plan.ends.size(); ++path) {
      const std::int64_t share = stripe_.share(static_cast<int>(path), size, rotation);
      std::int64_t offset = 0;
      plan.loads[path] += share;
      if (share > 0) {
        const std::optional<std::int64_t> hole = plan.free[path].take(share);
        offset = hole ? *hole : plan.ends[path];
        if (!hole) plan.ends[path] += share;
      }
      plan.offsets.push_back(offset);
    }
  };
  for (const Section& section : plan.sections) {
    if (section.payload == 0) continue;
    std::int64_t& left = missing[section.size_class];
    if (left > 0) add_slot(section.size_class), --left;
  }
  for (auto& [index, left] : missing) {
    for (; left > 0; --left) add_slot(index);
  }
}

SectionId Ledger::enter(Plan plan) {
  // What can fail for want of memory comes first.
  const auto ids = static_cast<std::int64_t>(plan.sections.size());
  for (const auto& [size, index] : plan.new_classes) {
    while (classes_.size() <= index) classes_.emplace_back(0);
  }
  slots_.reserve(plan.slots.size(), classes_.size());
  const std::size_t wanted = sections_.size() + plan.sections.size();
  if (wanted > sections_.capacity()) {
    sections_.reserve(std::max(wanted, 2 * sections_.capacity()));
  }

  free_ids_.reserve(reservations_.size() + 1);  // for release()
  std::int64_t first = static_cast<std::int64_t>(sections_.size());
  std::vector<std::pair<std::uint32_t, SizePool>> changed;  // classes
  std::map<std::int64_t, std::uint32_t> named = class_of_size_;
  for (const auto& [size, index] : plan.new_classes) named[size] = index;
  changed.reserve(plan.parts.size());
  for (const auto& [index, part] : plan.parts) {
    const auto fresh = std::find_if(
        plan.new_classes.begin(), plan.new_classes.end(),
        [wanted_class = index](const auto& entry) { return entry.second == wanted_class; });
    changed.emplace_back(
        index, fresh != plan.new_classes.end() ? SizePool(fresh->first) : classes_[index]);
    changed.back().second.add(part);
  }
  std::map<std::uint32_t, Reservation> entered;
  if (ids > 0) {
    const auto reused = free_ids_.take(ids);
    if (reused) first = *reused;
    try {
      entered[static_cast<std::uint32_t>(first)] = Reservation{ids, ids, std::move(plan.parts)};
    } catch (...) {
      if (reused) free_ids_.insert(first, ids);
      throw;
    }
  }

  for (auto& [index, pool] : changed) classes_[index] = std::move(pool);
  class_of_size_ = std::move(named);
  const std::size_t paths = ends_.size();
  for (std::size_t i = 0; i < plan.slots.size(); ++i) {
    slots_.add(plan.slots[i].size_class, plan.slots[i].rotation,
               std::span(plan.offsets).subspan(i * paths, paths));
  }
  if (first == static_cast<std::int64_t>(sections_.size())) sections_.resize(wanted);
  for (std::size_t i = 0; i < plan.sections.size(); ++i) {
    const Section& section = plan.sections[i];
    sections_[static_cast<std::size_t>(first) + i] = section;
    if (section.payload == 0) continue;
    max_runs_ = std::max(max_runs_, stripe_.max_runs(body(section.payload)));
  }
  reservations_.merge(entered);
  free_ = std::move(plan.free);
  ends_ = std::move(plan.ends);
  loads_ = std::move(plan.loads);
  rotation_ = plan.rotation;
  return SectionId{static_cast<std::uint32_t>(first)};
}

// Allocates nothing: what it frees must not depend on there being memory. enter() has set aside
// what it takes.
void Ledger::release(SectionId first, std::int64_t count) noexcept {
  std::int64_t at = number(first);
  for (const std::int64_t end = at + count; at < end;) {
    auto found = reservations_.upper_bound(static_cast<std::uint32_t>(at));
    SPILLWAY_CHECK(found != reservations_.begin(), "only what was reserved is released");
    --found;
    Reservation& reservation = found->second;
    const std::int64_t range_end = found->first + reservation.ids;
    SPILLWAY_CHECK(at < range_end, "only what was reserved is released");
    for (; at < std::min(end, range_end); ++at) {
      Section& section = sections_[static_cast<std::size_t>(at)];
      SPILLWAY_CHECK(section.state != Section::State::gone, "a section is released once");
      if (section.state == Section::State::live) {
        if (section.slot != no_slot) slots_.give_back(section.slot);
        SizePool::Part& part = reservation.parts.find(section.size_class)->second;
        SizePool::Part left = part;
        --left.sections;
        // Which tiles are gone whole is not kept; this many at most are left.
        left.tiles = std::min(part.tiles, left.sections);
        classes_[section.size_class].shrink(part, left);
        part = left;
      }
      section = Section{};
      --reservation.ids_left;
    }
    if (reservation.ids_left == 0) {
      free_ids_.insert(found->first, reservation.ids);
      reservations_.erase(found);
    }
  }
  trim();
  for (std::size_t path = 0; path < ends_.size(); ++path) {
    ends_[path] = free_[path].take_tail(ends_[path]);
  }
}

// Gives the space of slots that their classes do not need any more back to the files. What there
// is no memory for is done by the next one.
void Ledger::trim() noexcept {
  try {
    for (std::uint32_t index = 0; index < classes_.size(); ++index) trim(index);
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): see above
  }
}

void Ledger::trim(std::uint32_t size_class) {
  SizePool& pool = classes_[size_class];
  const std::int64_t surplus = slots_.count(size_class) - pool.slots();
  if (surplus > 0) {
    for (ExtentMap& free : free_) free.reserve(static_cast<std::size_t>(surplus));
    for (const SlotId slot : slots_.remove(size_class, surplus)) {
      for (int path = 0; path < stripe_.paths(); ++path) {
        const std::int64_t share = stripe_.share(path, pool.size(), slots_.rotation(slot));
        loads_[static_cast<std::size_t>(path)] -= share;
        if (share > 0) {
          free_[static_cast<std::size_t>(path)].insert(slots_.offset(slot, path), share);
        }
      }
    }
  }
  if (!pool.empty() || slots_.count(size_class) > 0) return;
  const auto named = class_of_size_.find(pool.size());
  if (named != class_of_size_.end() && named->second == size_class) class_of_size_.erase(named);
}

const Ledger::Section& Ledger::section(SectionId id) const {
  SPILLWAY_CHECK(
      number(id) < sections_.size() && sections_[number(id)].state == Section::State::live,
      "the section is reserved and has bytes");
  return sections_[number(id)];
}

Ledger::Section& Ledger::live(SectionId id) {
  static_cast<void>(section(id));  // its check
  return sections_[number(id)];
}

Ledger::Place Ledger::start_read(SectionId id) {
  const Section& of = section(id);
  SPILLWAY_CHECK(of.slot != no_slot, "only a written section is read");
  slots_.pin(of.slot);
  return {of.slot, body(of.payload)};
}

std::optional<Ledger::Place> Ledger::start_write(SectionId id) {
  const Section& of = section(id);
  const std::optional<SlotId> slot = slots_.take(of.size_class);
  if (!slot) return std::nullopt;
  return Place{*slot, body(of.payload)};
}

void Ledger::finish_write(SectionId id, SlotId slot, std::uint64_t seal) {
  Section& of = live(id);
  const SlotId old = of.slot;
  of.slot = slot;
  of.seal = seal;
  if (old != no_slot) slots_.give_back(old);
}

void Ledger::forget(SectionId id) {
  Section& of = live(id);
  if (of.slot == no_slot) return;
  slots_.give_back(of.slot);
  of.slot = no_slot;
}

}  // namespace spillway::store
