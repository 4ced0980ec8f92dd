#include "swap/region.h"

#include <utility>

namespace spillway::swap {

RegionOptions region_options(const IoConfig& io, OffloadDevice device, bool pin_memory, bool pool,
                             std::string name) {
  RegionOptions region;
  const bool pageable = device == OffloadDevice::none;
  region.pin = pin_memory && !pageable;
  region.require_pinned = region.pin && io.require_pinned;
  region.huge_pages = pageable ? Switch::off : io.huge_pages;
  // What is not a pool takes them where they come.
  if (!pool && region.huge_pages == Switch::on) region.huge_pages = Switch::automatic;
  region.prefault = !pageable;
  region.dump = io.dump_memory;
  region.numa_node = io.numa_node;
  region.name = std::move(name);
  return region;
}

}  // namespace spillway::swap
