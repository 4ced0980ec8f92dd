// Which tiles and slices a pass visits.

#include <algorithm>

#include "swap/swapper.h"

namespace spillway::swap {

bool Swapper::selects(const PassState& pass, const SliceRecord& slice) const {
  if (!table_.param(slice.param).live) return false;
  if (pass.every_parameter) return true;
  return pass.chosen[static_cast<std::size_t>(slice.param)] && slice.offset < pass.to &&
         slice.offset + slice.count > pass.from;
}

// Of those, a resumed step shows only what does not hold it yet.
bool Swapper::yields(const PassState& pass, const SliceRecord& slice) const {
  return selects(pass, slice) &&
         (!pass.step || pass.write == 0 || !slice.holds(*pass.step, pass.write));
}

bool Swapper::visits(const PassState& pass, const TileRecord& tile) const {
  if (!tile.live) return false;
  const UnitRecord& unit = table_.unit_of(tile);
  for (std::uint32_t i = 0; i < tile.slice_count; ++i)
    if (yields(pass, unit.slices[tile.first_slice + i])) return true;
  return false;
}

// The tile at or behind the cursor that the pass visits; the cursor then stands on it.
TileRecord* Swapper::find(const PassState& pass, PassState::Cursor& at, std::uint32_t& index) {
  for (; at.unit < pass.units.size(); ++at.unit, at.tile = 0) {
    const UnitRecord& unit = table_.unit(pass.units[at.unit]);
    for (; at.tile < unit.tiles.size(); ++at.tile) {
      index = unit.tiles[at.tile];
      if (index >= pass.first_tile && visits(pass, table_.tiles()[index]))
        return &table_.tiles()[index];
    }
  }
  return nullptr;
}

std::span<const Slice> Swapper::upcoming(PassState& pass) {
  house_->check_process();
  Lock lock(mutex_);
  pass.upcoming.clear();
  if (pass.settled) return {};
  PassState::Cursor at = pass.hand;
  std::uint32_t index = 0;
  for (int n = 0; n < std::max(1, buffers_ - 1); ++n, ++at.tile) {
    const TileRecord* tile = find(pass, at, index);
    if (tile == nullptr) break;
    const UnitRecord& unit = table_.unit_of(*tile);
    for (std::uint32_t i = 0; i < tile->slice_count; ++i) {
      const SliceRecord& record = unit.slices[tile->first_slice + i];
      if (!yields(pass, record)) continue;
      Slice slice;
      slice.param = record.param;
      slice.tag = table_.param(record.param).tag;
      slice.offset = record.offset;
      slice.count = record.count;
      pass.upcoming.push_back(slice);
    }
  }
  return pass.upcoming;
}

}  // namespace spillway::swap
