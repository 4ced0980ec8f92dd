// What does it cost to ask for a parameter that is in memory? Bar: 1 µs for fetch and release of a
// cached one. And what does a million registered parameters take?
//
// The floor beside it is two turns of a mutex that nobody else wants.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "scratch_directory.h"
#include "sys/limits.h"
#include "traffic.h"

#include "spillway/context.h"
#include "spillway/parameter_swapper.h"

namespace spillway::bench {
namespace {

constexpr std::int64_t elements = 4096;

Config cached_config(std::int64_t max_in_cpu) {
  Config config;
  config.offload_param.device = OffloadDevice::nvme;
  config.offload_param.nvme_path = {traffic_folder()};
  config.offload_param.buffer_count = 8;
  config.offload_param.buffer_size = 1024 * 1024;
  config.offload_param.max_in_cpu = max_in_cpu;
  return config;
}

// `count` parameters of one page each, written and cached.
class Cached {
 public:
  explicit Cached(std::int64_t count)
      : context_(cached_config(count * elements)), weights_(context_) {
    unit_ = weights_.add_unit("layer");
    for (std::int64_t i = 0; i < count; ++i)
      params_.push_back(weights_.add(fmt::format("layers.{}.weight", i), elements, DType::bf16,
                                     {.unit = i < 10 ? unit_ : default_unit}));
    for (const ParamId param : params_) weights_.fetch(param, Access::overwrite).commit();
    weights_.flush();
    for (const ParamId param : params_) weights_.fetch(param);
  }

  ParameterSwapper& weights() { return weights_; }
  const std::vector<ParamId>& params() const { return params_; }
  UnitId unit() const { return unit_; }

 private:
  Context context_;
  ParameterSwapper weights_;
  std::vector<ParamId> params_;
  UnitId unit_{};
};

void TwoTurnsOfAMutex(benchmark::State& state) {
  std::mutex mutex;
  for (auto _ : state) {
    mutex.lock();
    mutex.unlock();
    mutex.lock();
    mutex.unlock();
    benchmark::DoNotOptimize(&mutex);
  }
}
BENCHMARK(TwoTurnsOfAMutex);

// Fetch, one look, release; over and over in the order of add, which is learned.
void FetchAndRelease(benchmark::State& state) {
  Cached cached(state.range(0));
  ParameterSwapper& weights = cached.weights();
  const std::int64_t read = weights.stats().bytes_read;
  std::size_t at = 0;
  if (state.range(1) != 0) weights.begin_pass("train");
  for (auto _ : state) {
    const Lease lease = weights.fetch(cached.params()[at]);
    benchmark::DoNotOptimize(lease.tensors()[0].data());
    if (++at < cached.params().size()) continue;
    at = 0;
    if (state.range(1) != 0) weights.begin_pass("train");
  }
  if (weights.stats().bytes_read != read) state.SkipWithError("something was read: not cached");
}
BENCHMARK(FetchAndRelease)
    ->ArgNames({"tensors", "named"})
    ->ArgsProduct({{100, 10'000}, {0, 1}})
    ->Repetitions(tiny() ? 1 : 9);

// The same for ten parameters at once.
void FetchAndReleaseAUnitOfTen(benchmark::State& state) {
  Cached cached(state.range(0));
  for (auto _ : state) {
    const Lease lease = cached.weights().fetch(cached.unit());
    benchmark::DoNotOptimize(lease.tensors().back().data());
  }
}
BENCHMARK(FetchAndReleaseAUnitOfTen)->ArgName("tensors")->Arg(100)->Repetitions(tiny() ? 1 : 9);

void TryFetch(benchmark::State& state) {
  Cached cached(100);
  std::size_t at = 0;
  for (auto _ : state) {
    const auto lease = cached.weights().try_fetch(cached.params()[at]);
    if (!lease) return state.SkipWithError("it is not cached");
    at = (at + 1) % cached.params().size();
  }
}
BENCHMARK(TryFetch);

// Registered and sealed, with names as checkpoints have them: what a parameter takes in memory of
// this process, the pool of 8 MiB included, and the time of its add(). One reserves 4 KiB of disk,
// a million 4 GiB.
void Register(benchmark::State& state) {
  const std::int64_t count = tiny() ? 1000 : state.range(0);
  double bytes = 0;
  for (auto _ : state) {
    Context context(cached_config(1024));
    const std::int64_t before = sys::resident_bytes();
    ParameterSwapper weights(context);
    for (std::int64_t i = 0; i < count; ++i)
      weights.add(fmt::format("model.layers.{}.weight", i), 1, DType::bf16);
    weights.seal();
    bytes = static_cast<double>(sys::resident_bytes() - before) / static_cast<double>(count);
  }
  state.counters["rss_bytes_per_tensor"] = bytes;
  state.counters["seconds_per_add"] =
      benchmark::Counter(static_cast<double>(count * state.iterations()),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(Register)->ArgName("tensors")->Arg(1'000'000)->Iterations(1)->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace spillway::bench
