// write_state() and reset().

#include <algorithm>
#include <cstring>

#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {

void Swapper::write_state(ParamId id, std::string_view name, std::int64_t offset,
                          std::span<const std::byte> from) {
  seal();
  Pass request;
  request.only = {id};
  request.write = {name};
  std::int64_t begin_byte = 0, end_byte = 0;
  Internal internal;
  int s = 0;
  {
    Lock lock(mutex_);
    s = checked_state(name);
    const ParamRecord& record = table_.param(table_.checked(id));
    check_range(record, s, offset, static_cast<std::int64_t>(from.size()));
    if (from.empty()) return;
    const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
    begin_byte = offset * width(state.dtype);
    end_byte = begin_byte + static_cast<std::int64_t>(from.size());
    internal.from = offset * state.elements_per_value;
    internal.to = end_byte / width(state.dtype) * state.elements_per_value;
    const bool whole = begin_byte == 0 && end_byte == table_.layout().bytes(s, record.elements);
    if (!whole) request.read = {name};
    const UnitRecord& unit = table_.unit(record.unit);
    for (std::uint32_t i = record.first_slice; i < record.first_slice + record.slice_count; ++i) {
      const std::int64_t start = table_.layout().bytes(s, unit.slices[i].offset);
      const std::int64_t end = start + table_.layout().bytes(s, unit.slices[i].count);
      if ((unit.slices[i].torn & (1u << s)) != 0 && end > begin_byte && start < end_byte &&
          (start < begin_byte || end > end_byte))
        throw StepError(
            fmt::format("optimizer \"{}\": parameter \"{}\" is torn between old and new: "
                        "write state \"{}\" whole",
                        options_.name, record.name, name),
            {id});
    }
  }
  PassState* pass = begin(request, &internal);
  try {
    while (auto tile = next(*pass)) {
      for (const Slice& slice : tile->slices()) {
        const std::int64_t start = table_.layout().bytes(s, slice.offset);
        const auto bytes =
            slice.raw(name, table_.layout().states()[static_cast<std::size_t>(s)].dtype, true);
        const std::int64_t low = std::max(begin_byte, start);
        const std::int64_t high =
            std::min(end_byte, start + static_cast<std::int64_t>(bytes.size()));
        if (low < high)
          std::memcpy(bytes.data() + (low - start), from.data() + (low - begin_byte),
                      static_cast<std::size_t>(high - low));
      }
      tile->commit();
    }
  } catch (...) {
    close(pass);
    throw;
  }
  close(pass);
}

void Swapper::reset(std::string_view name, double value) {
  house_->check_process();
  Lock lock(mutex_);
  check_no_pass(lock, "reset");
  const int s = checked_state(name);
  const std::uint32_t bit = 1u << s;
  const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
  check_constant(state, value);
  table_.layout().set_initial(s, value);
  for (auto& lease : leases_) {
    if (lease->state != LeaseState::failed) continue;
    lease->writes &= ~bit;
    if (lease->writes == 0) release(*lease);
  }
  for (TileRecord& tile : table_.tiles()) {
    if (!tile.live) continue;
    tile.written &= ~bit;
    if (!tile.resident && store_->written(table_.section(tile, s)))
      store_->forget(table_.section(tile, s));
    UnitRecord& unit = table_.unit_of(tile);
    for (std::uint32_t i = tile.first_slice; i < tile.first_slice + tile.slice_count; ++i) {
      SliceRecord& slice = unit.slices[i];
      slice.torn &= ~bit;
      slice.load(bit);
      ParamRecord& owner = table_.param(slice.param);
      if (!owner.sources.empty()) owner.sources[static_cast<std::size_t>(s)] = {};
      if (!owner.live) continue;  // what it had adopted is the engine's again
      if (owner.adopted.empty() || owner.adopted[static_cast<std::size_t>(s)] == nullptr) continue;
      fill_constant(
          {owner.adopted[static_cast<std::size_t>(s)] + table_.layout().bytes(s, slice.offset),
           static_cast<std::size_t>(table_.layout().bytes(s, slice.count))},
          state.dtype, value);
    }
  }
  for (std::size_t u = 0; u < table_.units().size(); ++u)
    settle_step(table_.units()[u], holds_failed(static_cast<UnitId>(u)));
}

}  // namespace spillway::swap
