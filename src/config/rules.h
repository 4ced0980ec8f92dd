#pragma once

#include "config/places.h"
#include "config/problems.h"

#include "spillway/config.h"

namespace spillway::config {

/// Adds what is wrong with `config` by itself: ranges, and the rules across fields. Fields that
/// already have a problem are not judged again.
void check(const Config& config, const Places& places, Problems& problems);

}  // namespace spillway::config
