#pragma once

#include "bench/step_options.h"

namespace spillway::steps {

/// Runs the rounds and prints the report; the exit status. Throws Error, Stopped. Nothing is left
/// on disk but the trace.
int run(const Options& options);

}  // namespace spillway::steps
