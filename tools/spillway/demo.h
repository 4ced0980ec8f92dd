#pragma once

#include "demo_options.h"

namespace spillway::demo {

/// AdamW over a model's shapes, offloaded and in memory, compared and told about on standard
/// output. Returns the exit status: 1 if the two differ.
/// Throws Error; Stopped when a signal came. Nothing is left on disk, whatever the end.
int run_demo(const Options& options);

}  // namespace spillway::demo
