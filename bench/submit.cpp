// What does a request cost the processor between submit() and its completion, all threads counted,
// on a device that takes no time? The bar is 2 microseconds in batches of 64.
//
// The device is the tests' fake: a lock and a copy of 4 KiB per request are its own, and shown as
// the floor.
#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "base/align.h"
#include "io/engine.h"
#include "machine.h"
#include "memory/pinned_region.h"
#include "support/fake_backend.h"

namespace spillway::io {
namespace {

constexpr std::int64_t request_bytes = 4 * KiB;

struct Bench {
  explicit Bench(std::int64_t batch)
      : device(std::make_shared<FakeDevice>(batch * request_bytes)),
        memory(batch * request_bytes, {}),
        engine(std::make_unique<FakeBackend>(device), {.queue_depth = 64}),
        requests(static_cast<std::size_t>(batch)) {
    device->keep_log(false);
    std::ranges::fill(device->memory(), std::byte{1});  // every page has a frame
    const FileId file = engine.add_file({.fd = 0, .name = "fake"});
    for (std::int64_t i = 0; i < batch; ++i) {
      Request& request = requests[static_cast<std::size_t>(i)];
      request.file = file;
      request.offset = i * request_bytes;
      request.data = memory.data() + i * request_bytes;
      request.bytes = request_bytes;
      pointers.push_back(&request);
    }
  }
  void report(benchmark::State& state, double cpu_seconds) const {
    const double count =
        static_cast<double>(state.iterations()) * static_cast<double>(pointers.size());
    state.SetItemsProcessed(static_cast<std::int64_t>(count));
    state.counters["cpu_us_per_request"] = 1e6 * cpu_seconds / count;
  }

  std::shared_ptr<FakeDevice> device;
  PinnedRegion memory;
  Engine engine;
  std::vector<Request> requests;
  std::vector<Request*> pointers;
};

// One thread submits a batch and waits for all of it.
void SubmitAndWait(benchmark::State& state) {
  Bench bench(state.range(0));
  const double cpu = spillway::bench::own_cpu_seconds();
  for (auto _ : state) {
    bench.engine.submit(bench.pointers);
    for (Request* const request : bench.pointers) bench.engine.wait(*request);
  }
  bench.report(state, spillway::bench::own_cpu_seconds() - cpu);
}
BENCHMARK(SubmitAndWait)->Arg(1)->Arg(8)->Arg(64)->MeasureProcessCPUTime()->UseRealTime();

// As the swapper does it: the completion of one request submits the next, on the I/O thread.
struct Chain {
  Engine* engine = nullptr;
  std::int64_t left = 0;
};
void submit_again(Request& request, void* context) {
  Chain& chain = *static_cast<Chain*>(context);
  if (chain.left-- > 0) chain.engine->submit(request);
}
void SubmitFromCallback(benchmark::State& state) {
  Bench bench(state.range(0));
  constexpr std::int64_t rounds = 64;
  Chain chain{&bench.engine};
  for (Request& request : bench.requests) {
    request.callback = submit_again;
    request.context = &chain;
  }
  const double cpu = spillway::bench::own_cpu_seconds();
  for (auto _ : state) {
    bench.engine.call([&] {
      chain.left = rounds * state.range(0);
      bench.engine.submit(bench.pointers);
    });
    for (Request* const request : bench.pointers) bench.engine.wait(*request);
  }
  const double used = spillway::bench::own_cpu_seconds() - cpu;
  const double count =
      static_cast<double>(state.iterations() * state.range(0)) * static_cast<double>(rounds + 1);
  state.SetItemsProcessed(static_cast<std::int64_t>(count));
  state.counters["cpu_us_per_request"] = 1e6 * used / count;
}
BENCHMARK(SubmitFromCallback)->Arg(1)->Arg(64)->MeasureProcessCPUTime()->UseRealTime();

// What the fake itself does for a request: two turns of its lock, and the copy.
void FloorFakeDevice(benchmark::State& state) {
  std::vector<std::byte> from(64 * request_bytes, std::byte{1}), to(64 * request_bytes);
  std::mutex mutex;
  const double cpu = spillway::bench::own_cpu_seconds();
  for (auto _ : state) {
    for (std::int64_t i = 0; i < 64; ++i) {
      { const std::lock_guard lock(mutex); }
      const std::lock_guard lock(mutex);
      std::memcpy(to.data() + i * request_bytes, from.data() + i * request_bytes, request_bytes);
      benchmark::ClobberMemory();
    }
  }
  state.SetItemsProcessed(state.iterations() * 64);
  state.counters["cpu_us_per_request"] = 1e6 * (spillway::bench::own_cpu_seconds() - cpu) /
                                         static_cast<double>(state.iterations() * 64);
}
BENCHMARK(FloorFakeDevice);

}  // namespace
}  // namespace spillway::io
