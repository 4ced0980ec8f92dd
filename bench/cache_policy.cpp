// What does a decision of the cache cost? Accesses of whole training steps over the tensors of real
// models, with a cache of half their size: forward and backward, the order known, and unknown. No
// byte moves: the policy alone.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "cache/cache.h"
#include "machine.h"
#include "support/traces.h"

namespace spillway::cache {
namespace {

test::Model model(std::int64_t which) {
  if (bench::tiny()) return test::llama({"tiny", 64, 128, 2, 256, 4, 4});
  return which == 0 ? test::gpt2("gpt2-xl", 1600, 48)
                    : test::llama({"llama-2-70b", 8192, 28672, 80, 32000, 64, 8});
}

struct Bench {
  explicit Bench(const test::Model& shape)
      : cache(shape.total() / 2), accesses(test::forward_backward(shape)) {
    for (TensorId id = 0; id < shape.elements.size(); ++id) cache.add(id, shape.elements[id]);
  }
  // Fetch and release, as the swapper does it; returns whether it was there.
  bool fetch(TensorId id) {
    cache.access(id);
    const bool hit = cache.resident(id);
    if (!hit) {
      const Verdict verdict = cache.reserve(id);
      for (const TensorId victim : verdict.victims) cache.drop(victim);
      if (verdict.admit) benchmark::DoNotOptimize(cache.commit(id));
    }
    if (cache.resident(id)) {
      cache.pin(id);
      cache.unpin(id);
    }
    return hit;
  }
  std::int64_t pass() {
    std::int64_t hits = 0;
    for (const TensorId id : accesses) hits += fetch(id) ? 1 : 0;
    return hits;
  }

  Cache cache;
  test::Pass accesses;
};

void report(benchmark::State& state, const Bench& bench, std::int64_t hits,
            const std::string& name) {
  const auto fetches = state.iterations() * static_cast<std::int64_t>(bench.accesses.size());
  state.SetItemsProcessed(fetches);
  state.SetLabel(name);
  state.counters["hit_share"] = static_cast<double>(hits) / static_cast<double>(fetches);
  state.counters["seconds_per_fetch"] = benchmark::Counter(
      static_cast<double>(fetches), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void KnownOrder(benchmark::State& state) {
  const test::Model shape = model(state.range(0));
  Bench bench(shape);
  for (int i = 0; i < 3; ++i) {  // learns the order, and fills
    bench.cache.begin_pass("train");
    bench.pass();
  }
  std::int64_t hits = 0;
  for (auto _ : state) {
    bench.cache.begin_pass("train");
    hits += bench.pass();
  }
  report(state, bench, hits, shape.name);
}
BENCHMARK(KnownOrder)->ArgName("model")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

// Without begin_pass the cache finds the loop by itself.
void UnnamedLoop(benchmark::State& state) {
  const test::Model shape = model(state.range(0));
  Bench bench(shape);
  bench.pass();
  std::int64_t hits = 0;
  for (auto _ : state) hits += bench.pass();
  report(state, bench, hits, shape.name);
}
BENCHMARK(UnnamedLoop)->ArgName("model")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace spillway::cache
