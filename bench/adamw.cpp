// How fast is the AdamW kernel, per instruction set, on a tile that stays in the cache and on
// states in memory, on one thread and on all? It reads and writes 24 bytes per parameter (gradients
// are made in the kernel, not read). The ceiling beside it reads and writes the same bytes in the
// same places and computes next to nothing, in several ways, of which the fastest counts: one
// stream after the other or three abreast, each compiled for what this processor has.
#include "adamw.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "base/align.h"
#include "compute_threads.h"
#include "machine.h"
#include "memory/pinned_region.h"
#include "pieces.h"

// The loader picks the widest one that the processor has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SPILLWAY_WIDEST __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define SPILLWAY_WIDEST
#endif

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

// Integers, for an addition of floats has a latency that nothing here is about.
SPILLWAY_WIDEST void pass_over(std::uint32_t* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] ^= 1;
}

SPILLWAY_WIDEST void pass_abreast(std::uint32_t* __restrict a, std::uint32_t* __restrict b,
                                  std::uint32_t* __restrict c, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    a[i] ^= 1;
    b[i] ^= 1;
    c[i] ^= 1;
  }
}

void report(benchmark::State& state, std::int64_t elements) {
  state.SetItemsProcessed(state.iterations() * elements);
  state.SetBytesProcessed(state.iterations() * elements * 24);
  // Printed with a unit of time behind it: seconds, of which it takes billionths.
  state.counters["time_per_param"] =
      benchmark::Counter(static_cast<double>(state.iterations() * elements),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void update(benchmark::State& state, const Kernel& kernel, std::int64_t elements, int workers) {
  const States states(elements);
  const AdamW optimizer;
  ComputeThreads threads(workers);
  std::vector<Piece> pieces;
  cut(0, 0, elements, 0, pieces);
  fill_masters(kernel, states.at(0), 0, elements, stream_key(1, 0, 0));
  std::int64_t step = 0;
  const auto run = [&] {
    ++step;
    const AdamWStep constants = optimizer.at(step);
    threads.for_each(pieces.size(), [&](std::size_t i) {
      const Piece& piece = pieces[i];
      adamw_update(kernel, states.at(0) + piece.at, states.at(1) + piece.at,
                   states.at(2) + piece.at, piece.first, piece.count, stream_key(1, 0, step),
                   constants);
    });
  };
  // The first momenta are small; a few steps bring them to where they stay.
  for (int i = 0; i < 3; ++i) run();
  for (auto _ : state) run();
  report(state, elements);
}

void ceiling(benchmark::State& state, std::int64_t elements, int workers) {
  const States states(elements);
  ComputeThreads threads(workers);
  std::vector<Piece> pieces;
  cut(0, 0, elements, 0, pieces);
  const auto part = [&](int number, const Piece& piece) {
    return reinterpret_cast<std::uint32_t*>(states.at(number)) + piece.at;
  };
  const auto in_turn = [&](std::size_t i) {
    for (int s = 0; s < 3; ++s) pass_over(part(s, pieces[i]), pieces[i].count);
  };
  const auto abreast = [&](std::size_t i) {
    pass_abreast(part(0, pieces[i]), part(1, pieces[i]), part(2, pieces[i]), pieces[i].count);
  };
  using Clock = std::chrono::steady_clock;
  for (auto _ : state) {
    std::array<double, 2> seconds{};
    for (std::size_t way = 0; way < seconds.size(); ++way) {
      const auto begin = Clock::now();
      if (way == 0)
        threads.for_each(pieces.size(), in_turn);
      else
        threads.for_each(pieces.size(), abreast);
      benchmark::ClobberMemory();
      seconds[way] = std::chrono::duration<double>(Clock::now() - begin).count();
    }
    state.SetIterationTime(std::ranges::min(seconds));
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
  std::vector<int> workers{1};
  if (const auto all = static_cast<int>(std::thread::hardware_concurrency()); all > 1)
    workers.push_back(all);
  for (const Place& place : places)
    for (const int count : workers) {
      const std::string end = std::string("/") + place.name + "/threads:" + std::to_string(count);
      for (const Kernel* const kernel : kernels_here())
        benchmark::RegisterBenchmark((std::string("AdamW/") + kernel->name + end).c_str(),
                                     [kernel, place, count](benchmark::State& state) {
                                       update(state, *kernel, place.elements, count);
                                     })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      benchmark::RegisterBenchmark(
          ("Ceiling" + end).c_str(),
          [place, count](benchmark::State& state) { ceiling(state, place.elements, count); })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  return true;
}();

}  // namespace
}  // namespace spillway::demo
