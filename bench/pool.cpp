// What does it cost to take a buffer from the pool and give it back, by one thread and by several?
// The floor beside it: taking and leaving one mutex twice, which is the least a shared pool can do.
#include <benchmark/benchmark.h>

#include <memory>
#include <mutex>
#include <thread>

#include "base/align.h"
#include "memory/buffer_pool.h"
#include "memory/pinned_region.h"

namespace spillway {
namespace {

constexpr std::int64_t buffers = 64, buffer_bytes = 64 * KiB;

struct Pool {
  PinnedRegion region{buffers * buffer_bytes, {}};
  BufferPool pool{region.span(), buffers, buffer_bytes};
};
Pool& shared_pool() {
  static Pool pool;  // of all threads of a run, and of all runs
  return pool;
}

int several() { return std::max(2, static_cast<int>(std::thread::hardware_concurrency())); }

void TryAcquireRelease(benchmark::State& state) {
  BufferPool& pool = shared_pool().pool;
  for (auto _ : state) {
    auto lease = pool.try_acquire(buffer_bytes);
    benchmark::DoNotOptimize(lease);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(TryAcquireRelease)->UseRealTime()->Threads(1)->Threads(several());

void AcquireRelease(benchmark::State& state) {
  BufferPool& pool = shared_pool().pool;
  const TimePoint deadline = deadline_in(600);
  for (auto _ : state) {
    auto lease = pool.acquire(buffer_bytes, PoolClass::demand, deadline);
    benchmark::DoNotOptimize(lease);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(AcquireRelease)->UseRealTime()->Threads(1)->Threads(several());

// Mixed sizes from a pool that is half taken: runs have to be looked for.
void TryAcquireFragmented(benchmark::State& state) {
  Pool own;
  std::vector<BufferLease> held, all;
  for (std::int64_t i = 0; i < buffers; ++i) all.push_back(*own.pool.try_acquire(buffer_bytes));
  for (std::size_t i = 0; i < all.size(); ++i)
    if (i % 4 == 0) held.push_back(std::move(all[i]));
  all.clear();  // free runs of three buffers between them
  std::int64_t size = 1;
  for (auto _ : state) {
    auto lease = own.pool.try_acquire(size * buffer_bytes);
    benchmark::DoNotOptimize(lease);
    size = size % 3 + 1;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(TryAcquireFragmented);

void FloorTwoLocks(benchmark::State& state) {
  static std::mutex mutex;
  static std::int64_t value = 0;
  for (auto _ : state) {
    for (int i = 0; i < 2; ++i) {
      const std::lock_guard lock(mutex);
      benchmark::DoNotOptimize(++value);
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(FloorTwoLocks)->UseRealTime()->Threads(1)->Threads(several());

}  // namespace
}  // namespace spillway
