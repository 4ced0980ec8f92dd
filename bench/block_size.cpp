// Which block size and how many in flight does the device in the current directory want? Mixed
// reads and writes, the pattern of a step; fio with 1 MiB blocks, eight in flight, is the ceiling
// beside.
#include <benchmark/benchmark.h>

#include "traffic.h"

#include "spillway/error.h"

namespace spillway::bench {
namespace {

void Mixed(benchmark::State& state) {
  try {
    EngineLoad load({.folder = traffic_folder(),
                     .file_bytes = traffic_file_bytes(),
                     .block_bytes = state.range(0) * KiB,
                     .depth = static_cast<int>(state.range(1))});
    state.SetLabel(load.engine() +
                   (load.direct_io().starts_with("direct") ? ", direct" : ", BUFFERED"));
    load.run(Pattern::mixed, traffic_seconds() / 4);  // warm-up
    report_traffic(state, load, Pattern::mixed);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

const bool registered = [] {
  auto* const sweep = benchmark::RegisterBenchmark("Mixed", Mixed);
  sweep->ArgNames({"block_kib", "depth"})
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(1);
  if (tiny()) {
    sweep->Args({64, 2})->Args({256, 4});
  } else {
    for (const int block : {64, 128, 256, 512, 1024, 2048, 4096})
      for (const int depth : {1, 4, 16}) sweep->Args({block, depth});
  }
  register_fio_ceiling("CeilingFio", Pattern::mixed);
  return true;
}();

}  // namespace
}  // namespace spillway::bench
