#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>

namespace spillway::store {

/// Sections of one footprint in a reservation.
struct FootprintDemand {
  std::int64_t footprint = 0;  ///< [bytes]
  std::int64_t tiles = 0;      ///< that have such a section
};

/// Chooses the slot size for each footprint; slots of one size share their spares.
///
/// Full tiles get slots of exactly their size. The odd tail of each unit would need spares of its
/// own, doubling its space, so it may take a slot that is at most 1/8 too large, where the padding
/// of all those tiles costs no more than the spares that it saves. Small footprints meet nothing
/// within 1/8 of themselves (4, 8, 12 KiB) and stay exact.
///
/// `writable` is how many tiles can be between old and new at a time. `existing` are the sizes that
/// slots have already. Returns footprint -> slot size >= footprint.
std::map<std::int64_t, std::int64_t> choose_slot_sizes(std::span<const FootprintDemand> demands,
                                                       const std::set<std::int64_t>& existing,
                                                       std::int64_t writable);

}  // namespace spillway::store
