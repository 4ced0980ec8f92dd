#include "swap/table.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/throw.h"
#include "sys/limits.h"

namespace spillway::swap {
namespace {

// Reservations of a growing tail go up in powers of two, so that a unit of many small parameters
// asks the store a few times only.
std::int64_t grown(std::int64_t used, std::int64_t capacity) {
  const auto rounded = static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(std::max(used, page_bytes))));
  return std::min(rounded, capacity);
}

[[noreturn]] void throw_too_many(const std::string& name) {
  throw_error(Errc::invalid_argument, "parameter \"{}\": too many parameters or tiles", name);
}

}  // namespace

// A tile that add() is about to make, or the open tail that it is about to extend.
struct Table::NewTile {
  bool extends_tail = false;
  bool resident = false;
  std::uint32_t slices = 0;
  std::vector<std::int64_t> used;      // per state, after all slices
  std::vector<std::int64_t> reserved;  // per state
  store::SectionId sections = store::no_section;
};

Table::Table(Layout layout, store::Store* store, double ratio, int tiles_in_flight,
             bool whole_parameters, int owner)
    : layout_(std::move(layout)),
      store_(store),
      ratio_(ratio),
      tiles_in_flight_(tiles_in_flight),
      whole_parameters_(whole_parameters),
      owner_(owner) {
  add_unit("default");
}

UnitId Table::add_unit(std::string name) {
  if (units_.size() >= UINT32_MAX) throw_error(Errc::invalid_argument, "too many units");
  UnitRecord unit;
  unit.name = std::move(name);
  units_.push_back(std::move(unit));
  return static_cast<UnitId>(units_.size() - 1);
}

UnitId Table::checked(UnitId id) const {
  if (static_cast<std::size_t>(id) >= units_.size())
    throw_error(Errc::invalid_argument, "no unit has the id {}: {} units were added",
                static_cast<std::uint32_t>(id), units_.size() - 1);
  return id;
}

ParamId Table::checked(ParamId id) const {
  const auto index = static_cast<std::size_t>(id);
  if (index >= params_.size())
    throw_error(Errc::invalid_argument, "no parameter has the id {}: {} were added", index,
                params_.size());
  if (!params_[index].live)
    throw_error(Errc::invalid_argument, "parameter \"{}\" (id {}) was removed", params_[index].name,
                index);
  return id;
}

bool Table::is_resident(std::uint32_t tile_index) const {
  if (store_ == nullptr) return true;
  const double kept = 1.0 - ratio_;
  return std::floor((tile_index + 1.0) * kept) > std::floor(tile_index * kept);
}

// A mistyped size is refused before the records of its tiles take the memory of the machine.
void Table::check_records(const std::string& name, std::int64_t elements) const {
  const std::int64_t tiles = elements / layout_.tile_elements();
  if (tiles >= UINT32_MAX) throw_too_many(name);
  constexpr std::int64_t section = 64;  // about, here and in the store
  const std::int64_t bytes =
      tiles *
      (states() * section +
       static_cast<std::int64_t>(sizeof(NewTile) + sizeof(SliceRecord) + sizeof(TileRecord)));
  if (bytes < 64 * MiB) return;
  const sys::MemoryLimits limits = sys::memory_limits();
  const std::int64_t room = std::min(limits.available, limits.cgroup_available);
  if (bytes > room)
    throw_error(Errc::does_not_fit,
                "parameter \"{}\" has {} elements: the records of its {} tiles alone take {} of "
                "host memory, and {} are left; raise tile_bytes (offload_optimizer.buffer_size), "
                "if the number is right",
                name, elements, tiles, format_bytes(bytes), format_bytes(room));
}

ParamId Table::add(std::string name, std::int64_t elements, const ParamOptions& options) {
  UnitRecord& home = unit(checked(options.unit));
  if (elements < 0)
    throw_error(Errc::invalid_argument, "parameter \"{}\" has {} elements: it cannot be negative",
                name, elements);
  if (elements > (std::int64_t{1} << 52))
    throw_error(Errc::invalid_argument, "parameter \"{}\" has {} elements: that is beyond 2^52",
                name, elements);
  if (whole_parameters_ && elements > layout_.tile_elements())
    throw_error(
        Errc::does_not_fit,
        "parameter \"{}\" has {} elements and a tile of {} holds {}: with whole_parameters "
        "set tile_bytes (offload_optimizer.buffer_size) to {} at least",
        name, elements, format_bytes(layout_.tile_bytes()), layout_.tile_elements(),
        (layout_.tile_bytes() / layout_.tile_elements() + 1) * align_up(elements, layout_.cut()));

  check_records(name, elements);

  ParamRecord param;
  param.name = std::move(name);
  param.elements = elements;
  param.unit = options.unit;
  param.tag = options.tag;
  if (!options.adopt.empty()) {
    if (store_ != nullptr)
      throw_error(Errc::invalid_argument,
                  "parameter \"{}\" adopts memory, which only devices none and cpu can do",
                  param.name);
    param.adopted.assign(static_cast<std::size_t>(states()), nullptr);
    for (const Adopted& adopted : options.adopt) {
      const int s = layout_.find(adopted.state);
      if (s < 0)
        throw_error(Errc::invalid_argument,
                    "parameter \"{}\" adopts state \"{}\", which this "
                    "optimizer does not have",
                    param.name, adopted.state);
      if (static_cast<std::int64_t>(adopted.memory.size()) != layout_.bytes(s, elements))
        throw_error(Errc::invalid_argument,
                    "parameter \"{}\" adopts {} bytes for state \"{}\" and needs {}", param.name,
                    adopted.memory.size(), adopted.state, layout_.bytes(s, elements));
      param.adopted[static_cast<std::size_t>(s)] = adopted.memory.data();
    }
  }

  // Lay it out: first into the open tail, then into tiles of its own.
  const auto count = static_cast<std::size_t>(states());
  std::vector<NewTile> fresh;
  std::vector<SliceRecord> slices;
  std::vector<std::uint32_t> offsets;
  if (home.tail_open && elements > 0) {
    NewTile tail;
    tail.extends_tail = true;
    tail.resident = tiles_[home.tiles.back()].resident;
    tail.used = home.used;
    tail.reserved = home.reserved;
    fresh.push_back(std::move(tail));
  }
  for (std::int64_t done = 0; done < elements;) {
    std::int64_t fits = fresh.empty() ? 0 : layout_.room(fresh.back().used, elements - done);
    if (whole_parameters_ && fits < elements) fits = 0;
    if (fits == 0) {
      NewTile tile;
      tile.resident = is_resident(
          static_cast<std::uint32_t>(tiles_.size() + fresh.size() - (home.tail_open ? 1 : 0)));
      tile.used.assign(count, 0);
      fresh.push_back(std::move(tile));
      fits = layout_.room(fresh.back().used, elements - done);
      SPILLWAY_CHECK(fits > 0, "an empty tile holds at least one cut");
    }
    NewTile& tile = fresh.back();
    for (std::size_t s = 0; s < count; ++s)
      offsets.push_back(static_cast<std::uint32_t>(tile.used[s] / slice_alignment));
    layout_.advance(tile.used, fits);
    ++tile.slices;
    slices.push_back(
        {.param = static_cast<ParamId>(params_.size()), .offset = done, .count = fits});
    done += fits;
  }
  if (tiles_.size() + fresh.size() >= UINT32_MAX || params_.size() + 1 >= UINT32_MAX ||
      home.slices.size() + slices.size() >= UINT32_MAX)
    throw_too_many(param.name);

  // Everything that can fail for want of memory comes before the store is asked.
  param.first_slice = static_cast<std::uint32_t>(home.slices.size());
  param.slice_count = static_cast<std::uint32_t>(slices.size());
  const auto grow = [](auto& list, std::size_t more) {
    if (list.capacity() < list.size() + more)
      list.reserve(std::max(list.size() + more, list.size() * 2));
  };
  grow(params_, 1);
  grow(home.params, 1);
  grow(home.slices, slices.size());
  grow(home.offsets, offsets.size());
  grow(home.tiles, fresh.size());
  grow(tiles_, fresh.size());
  dead_.reserve(tiles_.capacity());
  home.used.reserve(count);
  home.reserved.reserve(count);
  reserve(fresh, home, param.name);

  for (NewTile& tile : fresh) {
    if (tile.extends_tail) {
      TileRecord& tail = tiles_[home.tiles.back()];
      tail.sections = tile.sections;
      tail.slice_count += tile.slices;
      max_slices_ = std::max(max_slices_, tail.slice_count);
      home.used.assign(tile.used.begin(), tile.used.end());
      home.reserved.assign(tile.reserved.begin(), tile.reserved.end());
      home.slices.insert(home.slices.end(), slices.begin(), slices.begin() + tile.slices);
      slices.erase(slices.begin(), slices.begin() + tile.slices);
      continue;
    }
    TileRecord record;
    record.unit = options.unit;
    record.first_slice = static_cast<std::uint32_t>(home.slices.size());
    record.slice_count = tile.slices;
    record.sections = tile.sections;
    record.resident = tile.resident;
    max_slices_ = std::max(max_slices_, record.slice_count);
    home.tiles.push_back(static_cast<std::uint32_t>(tiles_.size()));
    tiles_.push_back(record);
    home.tail_open = true;
    home.used.assign(tile.used.begin(), tile.used.end());
    home.reserved.assign(tile.reserved.begin(), tile.reserved.end());
    // One slice per new tile, for the tile was opened because the rest did not fit before.
    home.slices.insert(home.slices.end(), slices.begin(), slices.begin() + tile.slices);
    slices.erase(slices.begin(), slices.begin() + tile.slices);
  }
  home.offsets.insert(home.offsets.end(), offsets.begin(), offsets.end());
  const auto id = static_cast<ParamId>(params_.size());
  home.params.push_back(id);
  params_.push_back(std::move(param));
  elements_ += elements;
  return id;
}

// Reserves what the store must hold of `fresh`, all or nothing.
void Table::reserve(std::span<NewTile> fresh, UnitRecord& home, const std::string& name) {
  std::vector<std::int64_t> sizes;
  std::vector<NewTile*> stored;
  bool tail_moves = false;
  for (NewTile& tile : fresh) {
    const bool last = &tile == &fresh.back();
    if (tile.extends_tail) {
      const auto& record = tiles_[home.tiles.back()];
      tile.sections = record.sections;
      bool enough = true;
      for (std::size_t s = 0; s < tile.used.size(); ++s) enough &= tile.used[s] <= tile.reserved[s];
      if (enough && (last || tile.used == tile.reserved)) continue;
      tail_moves = !tile.resident;
    }
    tile.reserved.resize(tile.used.size());
    for (int s = 0; s < states(); ++s) {
      const auto i = static_cast<std::size_t>(s);
      // Only the last tile can still grow; one that is full is reserved as it is.
      tile.reserved[i] = last ? grown(tile.used[i], layout_.capacity(s)) : tile.used[i];
    }
    if (tile.resident) continue;
    sizes.insert(sizes.end(), tile.reserved.begin(), tile.reserved.end());
    stored.push_back(&tile);
  }
  if (stored.empty()) return;
  store::SectionId first{};
  try {
    first = store_->reserve(sizes, states(), tiles_in_flight_, owner_);
  } catch (const Error& error) {
    throw_error(error.code(), "parameter \"{}\" of unit \"{}\" cannot be added: {}", name,
                home.name, error.what());
  }
  if (tail_moves) store_->release(tiles_[home.tiles.back()].sections, states());
  for (std::size_t i = 0; i < stored.size(); ++i)
    stored[i]->sections = static_cast<store::SectionId>(static_cast<std::uint32_t>(first) +
                                                        i * static_cast<std::size_t>(states()));
}

void Table::close_tails() {
  for (UnitRecord& home : units_) {
    if (!home.tail_open) continue;
    TileRecord& tail = tiles_[home.tiles.back()];
    const bool shrinks = !tail.resident && tail.live && home.used != home.reserved;
    try {
      if (shrinks) {
        const store::SectionId exact =
            store_->reserve(home.used, states(), tiles_in_flight_, owner_);
        store_->release(tail.sections, states());
        tail.sections = exact;
        home.reserved = home.used;
      }
    } catch (const Error& error) {
      if (!store::is_full(error)) throw;  // the larger reservation serves
    }
    home.tail_open = false;
  }
}

// Allocates nothing: add() undoes itself with it when there is no memory.
std::span<const std::uint32_t> Table::remove(ParamId id) {
  ParamRecord& gone = param(checked(id));
  UnitRecord& home = unit(gone.unit);
  dead_.clear();
  gone.live = false;
  elements_ -= gone.elements;
  for (std::size_t t = 0; t < home.tiles.size(); ++t) {
    TileRecord& tile = tiles_[home.tiles[t]];
    if (tile.first_slice + tile.slice_count <= gone.first_slice ||
        tile.first_slice >= gone.first_slice + gone.slice_count)
      continue;
    bool live = false;
    for (std::uint32_t i = 0; i < tile.slice_count; ++i)
      live |= param(home.slices[tile.first_slice + i].param).live;
    if (live) continue;
    tile.live = false;
    if (!tile.resident) store_->release(tile.sections, states());
    if (t + 1 == home.tiles.size()) home.tail_open = false;
    dead_.push_back(home.tiles[t]);
  }
  std::erase_if(home.tiles, [&](std::uint32_t tile) { return !tiles_[tile].live; });
  return dead_;
}

std::int64_t Table::payload(const TileRecord& tile, int s) const {
  const UnitRecord& home = units_[static_cast<std::size_t>(tile.unit)];
  const std::uint32_t last = tile.first_slice + tile.slice_count - 1;
  return offset(home, last, s) +
         align_up(layout_.bytes(s, home.slices[last].count), slice_alignment);
}

std::int64_t Table::offset(const UnitRecord& home, std::uint32_t slice, int s) const {
  const std::size_t at =
      std::size_t{slice} * static_cast<std::size_t>(states()) + static_cast<std::size_t>(s);
  return std::int64_t{home.offsets[at]} * slice_alignment;
}

std::int64_t Table::home_bytes(const TileRecord& tile, int s) const {
  const UnitRecord& home = units_[static_cast<std::size_t>(tile.unit)];
  for (std::uint32_t i = 0; i < tile.slice_count; ++i) {
    const ParamRecord& owner =
        params_[static_cast<std::size_t>(home.slices[tile.first_slice + i].param)];
    if (owner.adopted.empty() || owner.adopted[static_cast<std::size_t>(s)] == nullptr)
      return payload(tile, s);
  }
  return 0;
}

std::string Table::describe(const TileRecord& tile) const {
  const UnitRecord& home = units_[static_cast<std::size_t>(tile.unit)];
  const SliceRecord& first = home.slices[tile.first_slice];
  std::string text = fmt::format("tile {} (\"{}\" [{}, {})", &tile - tiles_.data(),
                                 params_[static_cast<std::size_t>(first.param)].name, first.offset,
                                 first.offset + first.count);
  if (tile.slice_count > 1) text += fmt::format(" and {} more", tile.slice_count - 1);
  return text + ")";
}

std::int64_t Table::metadata_bytes() const {
  std::size_t bytes =
      params_.capacity() * sizeof(ParamRecord) + tiles_.capacity() * sizeof(TileRecord);
  for (const ParamRecord& record : params_)
    bytes += record.name.capacity() + record.sources.capacity() * sizeof(Source);
  for (const UnitRecord& home : units_)
    bytes += sizeof home + home.slices.capacity() * sizeof(SliceRecord) +
             home.offsets.capacity() * sizeof(std::uint32_t) +
             home.tiles.capacity() * sizeof(std::uint32_t);
  return static_cast<std::int64_t>(bytes);
}

}  // namespace spillway::swap
