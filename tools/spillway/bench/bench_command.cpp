// spillway bench: what a machine gives, and what the library makes of it. One subcommand each.
#include <fmt/core.h>

#include <cstdio>

#include "bench/bench_commands.h"

namespace spillway::tool {
namespace {

// As main() does for a missing command: CLI11 would hide a misspelt one behind "required".
int which_bench() {
  fmt::print(stderr, "spillway: which bench? bench --help lists them\n");
  return 2;
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  CLI::App& bench = *app.add_subcommand("bench", "Measure what this machine and its paths give");
  bench.require_subcommand(0, 1);
  bench.fallthrough();
  add_bench_io(bench, chosen);
  add_bench_params(bench, chosen);
  add_bench_step(bench, chosen);
  bench.callback([&bench, &chosen] {
    if (bench.get_subcommands().empty()) chosen = which_bench;
  });
}

}  // namespace spillway::tool
