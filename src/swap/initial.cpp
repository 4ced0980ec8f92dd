// First values of states that were never written: constants, and what parameters hold.

#include <algorithm>
#include <cstring>

#include "base/align.h"
#include "base/throw.h"
#include "swap/parameters.h"
#include "swap/swapper.h"
#include "swap/widen.h"

namespace spillway::swap {

// What add() was told of first values that come from parameters: one Source per state, or none.
std::vector<Source> Swapper::sources_of(const std::string& name, std::int64_t elements,
                                        const ParamOptions& options) const {
  std::vector<Source> sources;
  for (const InitialFrom& from : options.from) {
    const int s = checked_state(from.state);
    const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
    const auto refuse = [&](const std::string& why) {
      throw_error(Errc::invalid_argument, "parameter \"{}\", state \"{}\": `from` {}", name,
                  from.state, why);
    };
    if (from.swapper == nullptr) refuse("names no parameter swapper");
    const std::shared_ptr<Parameters>& parameters = from.swapper->parameters_;
    if (parameters == nullptr) refuse("names a parameter swapper that was moved from");
    if (state.elements_per_value != 1)
      refuse(fmt::format("cannot serve a state with one value for {} elements",
                         state.elements_per_value));
    const DType dtype = parameters->dtype(from.param);
    if (!widens(dtype, state.dtype))
      refuse(
          fmt::format("names a parameter of {} (\"{}\"), and the state is {}: only the same "
                      "dtype, and f16 or bf16 as f32, keep every value",
                      to_string(dtype), parameters->name(from.param), to_string(state.dtype)));
    if (parameters->elements(from.param) != elements)
      refuse(fmt::format("names parameter \"{}\" of {} elements, and {} are needed",
                         parameters->name(from.param), parameters->elements(from.param), elements));
    const auto also = [&](const auto& list) {
      return std::any_of(list.begin(), list.end(),
                         [&](const auto& other) { return other.state == from.state; });
    };
    if (also(options.init) || also(options.adopt))
      refuse("and `init` or `adopt` both give this state: one of them can");
    sources.resize(static_cast<std::size_t>(table_.states()));
    Source& source = sources[static_cast<std::size_t>(s)];
    if (source.known) refuse("is given twice");
    source = {.known = true, .param = from.param, .parameters = parameters};
  }
  return sources;
}

const Source* Swapper::source_of(ParamId param, int s) const {
  const ParamRecord& owner = table_.param(param);
  if (owner.sources.empty() || !owner.live) return nullptr;
  const Source& source = owner.sources[static_cast<std::size_t>(s)];
  return source.known ? &source : nullptr;
}

// Whether a pass needs first values of a slice: it shows them, or it writes them along with those
// of other slices. What a pass only writes comes from the engine: nothing is read for it.
bool Swapper::needs_first(const PassState& pass, const SliceRecord& slice,
                          std::uint32_t bit) const {
  return yields(pass, slice) ? (pass.read & bit) != 0 || pass.sealing : (pass.write & bit) != 0;
}

// Elements [offset, ...) of a parameter's state, as its source has them. Without the mutex: it
// waits for I/O of the parameter swapper.
void Swapper::take_first(const Source& source, const std::string& what, DType dtype,
                         std::int64_t offset, std::span<std::byte> to) const {
  const std::shared_ptr<Parameters> parameters = source.parameters.lock();
  if (parameters == nullptr)
    throw_error(Errc::invalid_argument,
                "{}: the parameter swapper that holds its first values was destroyed before they "
                "were read: keep it until the state has been written, or write the state",
                what);
  try {
    parameters->read_as(source.param, dtype, to,
                        {offset, static_cast<std::int64_t>(to.size()) / width(dtype)});
  } catch (const Error& error) {
    throw_error(error.code(), "{}: its first values cannot be had: {}", what, error.what());
  }
}

std::string Swapper::describe_state(const TileRecord& tile, int s) const {
  return fmt::format("optimizer \"{}\": {}, state \"{}\"", options_.name, table_.describe(tile),
                     table_.layout().states()[static_cast<std::size_t>(s)].name);
}

// Gives `states` of a tile, which were never written, their first values. Adopted memory is the
// engine's: it holds what it holds.
void Swapper::fill_unwritten(Lease& lease, std::uint32_t states) {
  const TileRecord& tile = table_.tiles()[lease.tile];
  const UnitRecord& unit = table_.unit_of(tile);
  for (int s = 0; s < table_.states(); ++s) {
    const std::uint32_t bit = 1u << s;
    if ((states & bit) == 0) continue;
    const State& state = table_.layout().states()[static_cast<std::size_t>(s)];
    for (std::uint32_t i = tile.first_slice; i < tile.first_slice + tile.slice_count; ++i) {
      const SliceRecord& slice = unit.slices[i];
      const ParamRecord& owner = table_.param(slice.param);
      if (!owner.adopted.empty() && owner.adopted[static_cast<std::size_t>(s)] != nullptr) continue;
      const auto bytes = static_cast<std::size_t>(table_.layout().bytes(s, slice.count));
      const std::span<std::byte> to{
          lease.section[static_cast<std::size_t>(s)] + table_.offset(unit, i, s),
          align_up(bytes, static_cast<std::size_t>(slice_alignment))};
      const Source* const source = source_of(slice.param, s);
      if (source == nullptr) {
        fill_constant(to, state.dtype, state.initial);
        continue;
      }
      lease.sourced |= bit;
      if (needs_first(*lease.pass, slice, bit)) {
        take_first(*source, describe_state(tile, s), state.dtype, slice.offset, to.first(bytes));
        std::memset(to.data() + bytes, 0, to.size() - bytes);
      } else if (yields(*lease.pass, slice)) {
        lease.unfilled |= bit;
      }
    }
  }
}

// Asks the parameter swappers for what the next tiles are to be filled from, as far as reads run
// ahead, so that these reads go on beside each other and beside ours. Lets go of the mutex.
void Swapper::prefetch_sources(Lock& lock, PassState& pass) {
  struct Wanted {
    Source source;
    Range range;
  };
  std::vector<Wanted> wanted;
  const int tiles = 1 + (offload_.pipeline_read ? std::max(1, buffers_ - 1) : 0);
  PassState::Cursor at = pass.hand;
  std::uint32_t index = 0;
  for (int n = 0; n < tiles; ++n, ++at.tile) {
    const TileRecord* const tile = find(pass, at, index);
    if (tile == nullptr) break;
    if (at < pass.asked) continue;
    pass.asked = {at.unit, at.tile + 1};
    const std::uint32_t fresh = (pass.read | pass.write) & ~tile->written;
    const UnitRecord& unit = table_.unit_of(*tile);
    for (int s = 0; s < table_.states(); ++s)
      for (std::uint32_t i = 0; (fresh & (1u << s)) != 0 && i < tile->slice_count; ++i) {
        const SliceRecord& slice = unit.slices[tile->first_slice + i];
        const Source* const source = source_of(slice.param, s);
        if (source != nullptr && needs_first(pass, slice, 1u << s))
          wanted.push_back({*source, {slice.offset, slice.count}});
      }
  }
  if (wanted.empty()) return;
  lock.unlock();
  for (const Wanted& one : wanted) {
    const std::shared_ptr<Parameters> parameters = one.source.parameters.lock();
    try {
      if (parameters != nullptr) parameters->prefetch(one.source.param, one.range);
    } catch (const Error&) {  // whoever needs it will say so
    }
  }
  lock.lock();
}

// Their memory is part of the plan: what does not fit is refused before a tile moves.
void Swapper::seal_sources() {
  std::vector<std::shared_ptr<Parameters>> all;
  {
    Lock lock(mutex_);
    if (!sourced_ || sealed()) return;
    for (const ParamRecord& param : table_.params())
      for (const Source& source : param.sources) {
        std::shared_ptr<Parameters> one =
            param.live && source.known ? source.parameters.lock() : nullptr;
        if (one != nullptr && std::find(all.begin(), all.end(), one) == all.end())
          all.push_back(std::move(one));
      }
  }
  for (const auto& parameters : all) parameters->seal();
}

}  // namespace spillway::swap
