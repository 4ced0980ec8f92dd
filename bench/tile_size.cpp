// How large a tile, and how many of them, does a step want? Whole steps of an optimizer swapper
// with three fp32 states and no compute on a file system in the current directory; fio's mixed rate
// is the ceiling beside them.
#include <benchmark/benchmark.h>
#include <spillway/spillway.h>

#include "traffic.h"

namespace spillway::bench {
namespace {

std::int64_t state_bytes() { return tiny() ? 3 * MiB : 768 * MiB; }

void Step(benchmark::State& state) {
  try {
    Config config;
    config.offload_optimizer.device = OffloadDevice::nvme;
    config.offload_optimizer.nvme_path = {traffic_folder()};
    config.offload_optimizer.buffer_count = state.range(1);
    config.offload_optimizer.pin_memory = true;
    config.offload_optimizer.pipeline_read = config.offload_optimizer.pipeline_write = true;
    Context context(config);
    OptimizerSwapper swapper(context, {.states = {{"master"}, {"exp_avg"}, {"exp_avg_sq"}},
                                       .tile_bytes = state.range(0) * KiB});
    swapper.add("parameter", state_bytes() / 12);
    std::int64_t number = 0;
    const auto step = [&] {
      swapper.step(++number, [](const Slice& slice) {
        // Nothing is computed, but all of it counts as changed.
        for (const char* name : {"master", "exp_avg", "exp_avg_sq"})
          benchmark::DoNotOptimize(slice.of<float>(name).data());
      });
    };
    step();  // allocates, and writes what was never written
    const OptimizerStats before = swapper.stats();
    const double cpu = own_cpu_seconds();
    for (auto _ : state) step();
    const double used = own_cpu_seconds() - cpu;
    const OptimizerStats after = swapper.stats();
    const std::int64_t moved =
        after.bytes_read + after.bytes_written - before.bytes_read - before.bytes_written;
    state.SetBytesProcessed(moved);
    state.SetLabel(context.stats().engine);
    state.counters["pool_MiB"] = static_cast<double>(after.memory.region_bytes) / MiB;
    state.counters["cpu_s_per_GiB"] = used / (static_cast<double>(moved) / GiB);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

const bool registered = [] {
  auto* const sweep = benchmark::RegisterBenchmark("Step", Step);
  sweep->ArgNames({"tile_kib", "buffers"})->UseRealTime()->Unit(benchmark::kMillisecond);
  if (tiny()) {
    sweep->Args({256, 3})->Args({512, 4});
  } else {
    for (const int tile : {1024, 2048, 4096, 8192, 16384})
      for (const int buffers : {3, 4, 6}) sweep->Args({tile, buffers});
  }
  register_fio_ceiling("CeilingFio", Pattern::mixed);
  return true;
}();

}  // namespace
}  // namespace spillway::bench
