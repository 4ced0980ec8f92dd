#pragma once

#include <string>

#include "memory/pinned_region.h"

#include "spillway/config.h"

namespace spillway::swap {

/// How a swapper of `device` asks for memory: pageable for none; else by the config, and the huge
/// pages that it may demand only for a pool, which is what the disk sees.
RegionOptions region_options(const IoConfig& io, OffloadDevice device, bool pin_memory, bool pool,
                             std::string name);

}  // namespace spillway::swap
