// How fast is the AdamW kernel of the demo, per instruction set, on a tile in cache and on states
// in memory? It reads and writes 24 bytes per parameter; the ceiling beside it does the same and
// computes nothing. (Gradients are made in the kernel, not read.)
#include "adamw.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

#include "base/align.h"
#include "machine.h"
#include "memory/pinned_region.h"

namespace spillway::demo {
namespace {

struct States {
  explicit States(std::int64_t elements)
      : count(elements), region(3 * align_up(4 * elements, page_bytes), {}) {}
  float* at(int state) const {
    return reinterpret_cast<float*>(region.data() + state * align_up(4 * count, page_bytes));
  }
  std::int64_t count;
  PinnedRegion region;
};

void report(benchmark::State& state, std::int64_t elements) {
  state.SetItemsProcessed(state.iterations() * elements);
  state.SetBytesProcessed(state.iterations() * elements * 24);
  state.counters["ns_per_param"] =
      benchmark::Counter(static_cast<double>(state.iterations() * elements) * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void update(benchmark::State& state, const Kernel& kernel, std::int64_t elements) {
  const States states(elements);
  const AdamW optimizer;
  fill_masters(kernel, states.at(0), 0, elements, stream_key(1, 0, 0));
  std::int64_t step = 0;
  const auto run = [&] {
    ++step;
    adamw_update(kernel, states.at(0), states.at(1), states.at(2), 0, elements,
                 stream_key(1, 0, step), optimizer.at(step));
  };
  // The first momenta are small; a few steps bring them to where they stay.
  for (int i = 0; i < 3; ++i) run();
  for (auto _ : state) run();
  report(state, elements);
}

void ceiling(benchmark::State& state, std::int64_t elements) {
  const States states(elements);
  float* const a = states.at(0);
  float* const b = states.at(1);
  float* const c = states.at(2);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < elements; ++i) {
      a[i] += 1;
      b[i] += 1;
      c[i] += 1;
    }
    benchmark::ClobberMemory();
  }
  report(state, elements);
}

const bool registered = [] {
  struct Place {
    const char* name;
    std::int64_t elements;
  };
  // 768 KiB stay in the second-level cache; 768 MiB do not stay anywhere.
  std::vector<Place> places{{"in_cache", 64 * KiB}};
  if (!bench::tiny()) places.push_back({"in_memory", 64 * MiB});
  for (const Place& place : places) {
    for (const Kernel* const kernel : kernels_here())
      benchmark::RegisterBenchmark(
          (std::string("AdamW/") + kernel->name + "/" + place.name).c_str(),
          [kernel, place](benchmark::State& state) { update(state, *kernel, place.elements); })
          ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(
        (std::string("Ceiling/") + place.name).c_str(),
        [place](benchmark::State& state) { ceiling(state, place.elements); })
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace spillway::demo
