// How do the two engines compare, io_uring and threads, on a file in the current directory? 1 MiB
// blocks, eight in flight, from huge pages; fio is the ceiling beside them.
#include <benchmark/benchmark.h>

#include <string>

#include "io/engine.h"
#include "traffic.h"

#include "spillway/error.h"

namespace spillway::bench {
namespace {

constexpr int depth = 8;
std::int64_t block_bytes() { return tiny() ? 256 * KiB : MiB; }

void engine_traffic(benchmark::State& state, EngineChoice engine, Pattern pattern) {
  try {
    EngineLoad load({.folder = traffic_folder(),
                     .file_bytes = traffic_file_bytes(),
                     .block_bytes = block_bytes(),
                     .depth = depth,
                     .engine = engine});
    state.SetLabel(load.direct_io().starts_with("direct") ? "direct" : "BUFFERED");
    load.run(pattern, traffic_seconds() / 4);  // warm-up
    report_traffic(state, load, pattern);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

bool io_uring_works() {
  try {
    io::Engine::open({.engine = EngineChoice::io_uring});
    return true;
  } catch (const Error&) {
    return false;
  }
}

const bool registered = [] {
  const bool ring = io_uring_works();
  const auto add = [](const std::string& who, Pattern pattern, auto function) {
    benchmark::RegisterBenchmark((who + "/" + std::string(name_of(pattern))).c_str(), function)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->Iterations(1);
  };
  for (const Pattern pattern : all_patterns) {
    if (ring)
      add("io_uring", pattern, [pattern](benchmark::State& state) {
        engine_traffic(state, EngineChoice::io_uring, pattern);
      });
    add("threads", pattern, [pattern](benchmark::State& state) {
      engine_traffic(state, EngineChoice::threads, pattern);
    });
    register_fio_ceiling("ceiling_fio/" + std::string(name_of(pattern)), pattern);
  }
  return true;
}();

}  // namespace
}  // namespace spillway::bench
