#pragma once

#include <spillway/spillway.h>

#include <string>

#include "peer.h"

namespace spillway::bench {

/// Both flags, pinned, `shape.buffers` tiles of `shape.tile_bytes`.
Config config_of(const StepShape& shape, bool checksums);
std::string setting_of(const ContextStats& context, const OptimizerStats& optimizer);

}  // namespace spillway::bench
