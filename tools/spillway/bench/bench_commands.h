#pragma once

#include "commands.h"

namespace spillway::tool {

/// Each adds one subcommand to the group `bench`, and sets `chosen` when it is the one.
void add_bench_io(CLI::App& bench, Command& chosen);
void add_bench_params(CLI::App& bench, Command& chosen);
void add_bench_step(CLI::App& bench, Command& chosen);

}  // namespace spillway::tool
