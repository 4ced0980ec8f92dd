#pragma once

#include "bench/params_options.h"

namespace spillway::params {

/// Runs the passes at every size of the cache and prints the report; the exit status. Throws Error.
int run_params(const Options& options);

}  // namespace spillway::params
