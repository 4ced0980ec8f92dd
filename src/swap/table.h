#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"
#include "swap/layout.h"
#include "swap/source.h"

#include "spillway/optimizer_swapper.h"

namespace spillway::swap {

struct PassState;

inline constexpr std::int64_t no_step = -1;
inline constexpr std::int32_t no_lease = -1;

/// A run of elements of one parameter in one tile, as the table keeps it.
struct SliceRecord {
  ParamId param{};
  std::uint32_t torn = 0;       // states left between old and new
  std::uint32_t stepped = 0;    // states that `step` has changed
  std::uint32_t replaced = 0;   // of these, loaded from elsewhere since
  std::uint32_t owed = 0;       // states that the unit's unfinished step has still to write
  std::int64_t offset = 0;      // [elements]
  std::int64_t count = 0;       // [elements]
  std::int64_t step = no_step;  // last step committed

  bool holds(std::int64_t wanted, std::uint32_t states) const {
    return step == wanted && (states & ~stepped) == 0;
  }
  void take_step(std::int64_t taken, std::uint32_t states) {
    if (step != taken) step = taken, stepped = 0;
    stepped |= states;
    replaced = 0;
    owed &= ~states;
  }
  // Once all that the step had changed comes from elsewhere, the step has not happened here.
  void load(std::uint32_t states) {
    replaced |= states;
    if ((stepped & ~replaced) == 0) step = no_step, stepped = replaced = 0;
  }
};

/// A tile. Its slices stand together in its unit's list; its sections have consecutive ids.
struct TileRecord {
  UnitId unit{};
  std::uint32_t first_slice = 0;  // in Unit::slices
  std::uint32_t slice_count = 0;
  store::SectionId sections = store::no_section;  // first of one per state; resident: none
  std::byte* home = nullptr;                      // resident: its memory
  std::uint32_t written = 0;                      // states that are not their constant any more
  std::int32_t lease = no_lease;                  // the lease that holds it now
  bool resident = false;
  bool live = true;  // false: all its parameters are removed
};

struct ParamRecord {
  std::string name;
  std::int64_t elements = 0;
  UnitId unit{};
  std::uint64_t tag = 0;
  bool live = true;
  std::uint32_t first_slice = 0;  // in Unit::slices; a parameter's slices stand together
  std::uint32_t slice_count = 0;
  std::vector<std::byte*> adopted;  // one per state, or empty
  std::vector<Source> sources;      // one per state, or empty
};

struct UnitRecord {
  std::string name;
  std::vector<ParamId> params;
  std::vector<SliceRecord> slices;
  std::vector<std::uint32_t> offsets;  // [slice * states + state], in slice_alignment bytes
  std::vector<std::uint32_t> tiles;    // in the order of their slices
  // The last tile takes more parameters until the first pass: what its sections hold so far, and
  // what is reserved for them. [bytes] per state
  bool tail_open = false;
  std::vector<std::int64_t> used, reserved;
  std::int64_t unfinished = no_step;  // a step that was left early
  PassState* pass = nullptr;          // the open pass over it
};

/// Which parameter lies where: units, parameters, slices, tiles, and the space reserved for them.
///
/// Not thread-safe; the swapper holds its mutex around every call.
class Table {
 public:
  /// Without a store every tile is resident. `ratio` of the tiles, spread evenly, go to the store;
  /// `tiles_in_flight` decides the spare slots, which all tables of one `owner` share.
  Table(Layout layout, store::Store* store, double ratio, int tiles_in_flight,
        bool whole_parameters, int owner = 0);

  UnitId add_unit(std::string name);
  /// Lays the parameter out behind those of its unit and reserves its space. Throws Error
  /// invalid_argument, no_space (naming the parameter); then nothing has changed.
  ParamId add(std::string name, std::int64_t elements, const ParamOptions& options);
  /// Returns the tiles that have no parameter any more.
  std::span<const std::uint32_t> remove(ParamId id);
  /// Closes the tiles that still take parameters and gives back what was reserved beyond need.
  void close_tails();

  const Layout& layout() const { return layout_; }
  Layout& layout() { return layout_; }
  int states() const { return layout_.count(); }
  std::vector<UnitRecord>& units() { return units_; }
  std::vector<ParamRecord>& params() { return params_; }
  std::vector<TileRecord>& tiles() { return tiles_; }
  const std::vector<UnitRecord>& units() const { return units_; }
  const std::vector<ParamRecord>& params() const { return params_; }
  const std::vector<TileRecord>& tiles() const { return tiles_; }
  UnitRecord& unit(UnitId id) { return units_[static_cast<std::size_t>(id)]; }
  ParamRecord& param(ParamId id) { return params_[static_cast<std::size_t>(id)]; }
  const UnitRecord& unit(UnitId id) const { return units_[static_cast<std::size_t>(id)]; }
  const ParamRecord& param(ParamId id) const { return params_[static_cast<std::size_t>(id)]; }
  UnitRecord& unit_of(const TileRecord& tile) { return unit(tile.unit); }
  const UnitRecord& unit_of(const TileRecord& tile) const { return unit(tile.unit); }
  /// Throws Error invalid_argument for ids that were never given out or are removed.
  UnitId checked(UnitId id) const;
  ParamId checked(ParamId id) const;

  /// [bytes] that the slices of this tile take in state `s`, and where slice `slice` of its unit
  /// starts in that section.
  std::int64_t payload(const TileRecord& tile, int s) const;
  std::int64_t offset(const UnitRecord& unit, std::uint32_t slice, int s) const;
  store::SectionId section(const TileRecord& tile, int s) const {
    return static_cast<store::SectionId>(static_cast<std::uint32_t>(tile.sections) +
                                         static_cast<std::uint32_t>(s));
  }
  /// [bytes] of host memory that a resident tile takes in state `s`: none where all is adopted.
  std::int64_t home_bytes(const TileRecord& tile, int s) const;
  bool is_resident(std::uint32_t tile_index) const;
  std::uint32_t max_slices() const { return max_slices_; }  ///< of one tile so far
  std::int64_t elements() const { return elements_; }
  /// "tile 7 (h.0.mlp.c_fc.weight [0, 348160) and 3 more)"
  std::string describe(const TileRecord& tile) const;
  std::int64_t metadata_bytes() const;

 private:
  struct NewTile;
  void check_records(const std::string& name, std::int64_t elements) const;
  void reserve(std::span<NewTile> tiles, UnitRecord& unit, const std::string& name);

  Layout layout_;
  store::Store* store_;
  double ratio_;
  int tiles_in_flight_;
  bool whole_parameters_;
  int owner_;
  std::vector<UnitRecord> units_;
  std::vector<ParamRecord> params_;
  std::vector<TileRecord> tiles_;
  std::vector<std::uint32_t> dead_;  // of remove(): with room for all tiles
  std::uint32_t max_slices_ = 0;
  std::int64_t elements_ = 0;
};

}  // namespace spillway::swap
