// How fast is a section's checksum (XXH3-64), in cache and from memory, and how much slower than
// merely reading the bytes, which is its ceiling? And what does the trailer cost that takes its
// place when checksums are off?
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>

#include "base/align.h"
#include "machine.h"
#include "memory/pinned_region.h"
#include "store/seal.h"

namespace spillway::store {
namespace {

PinnedRegion filled(std::int64_t bytes) {
  PinnedRegion region(bytes, {});
  std::uint64_t value = 1;
  for (std::int64_t at = 0; at < bytes; at += 8) {
    value = value * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(region.data() + at, &value, 8);
  }
  return region;
}

void Checksum(benchmark::State& state) {
  const std::int64_t bytes = state.range(0) * KiB;
  const PinnedRegion region = filled(bytes);
  const SealInput input{.section = 1, .payload = bytes, .body = bytes};
  for (auto _ : state) benchmark::DoNotOptimize(checksum(input, region.data()));
  state.SetBytesProcessed(state.iterations() * bytes);
}

void CeilingRead(benchmark::State& state) {
  const std::int64_t bytes = state.range(0) * KiB;
  const PinnedRegion region = filled(bytes);
  for (auto _ : state) {
    // Eight sums side by side, as wide as the machine has them.
    std::uint64_t sums[8] = {};
    const auto* const words = reinterpret_cast<const std::uint64_t*>(region.data());
    for (std::int64_t i = 0; i < bytes / 8; i += 8)
      for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
    benchmark::DoNotOptimize(sums);
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("kib");
  for (const std::int64_t kib :
       {64, 1365, 262144})  // in cache; a section of the usual tile; memory
    if (!bench::tiny() || kib == 64) benchmark->Arg(kib / 4 * 4);
}
BENCHMARK(Checksum)->Apply(sizes);
BENCHMARK(CeilingRead)->Apply(sizes);

void Trailer(benchmark::State& state) {
  const std::int64_t bytes = 64 * KiB;
  const PinnedRegion region = filled(bytes);
  const SealInput input{.section = 1, .payload = bytes - trailer_bytes, .body = bytes};
  std::uint64_t number = 0;
  for (auto _ : state) {
    put_trailer(input, 1, ++number, region.data());
    benchmark::DoNotOptimize(check_trailer(input, 1, number, region.data()));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Trailer);

}  // namespace
}  // namespace spillway::store
