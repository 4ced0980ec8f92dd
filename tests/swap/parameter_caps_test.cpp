// Both budgets at every moment, while several threads do everything at once; and what the cache
// takes in while it learns.

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "swap/parameter_fixture.h"

namespace spillway::test {
namespace {

TEST(ParameterCapsTest, HoldAtEveryMoment) {
  const Scratch scratch;
  for (const std::int64_t cap : {0, 9'000, 26'000}) {
    constexpr std::int64_t count = 5, size = 32 * 1024;
    Context context(parameter_config(OffloadDevice::nvme, scratch.path(), count, size, cap));
    ParameterSwapper swapper(context);
    std::vector<UnitId> units;
    std::vector<ParamId> ids;
    for (std::uint64_t i = 0; i < 9; ++i) {
      if (i % 3 == 0) units.push_back(swapper.add_unit("unit" + std::to_string(i / 3)));
      ids.push_back(swapper.add("p", 4600 + 1000 * static_cast<std::int64_t>(i % 4), DType::f32,
                                {.unit = units.back(), .tag = i}));
    }
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::atomic<bool> over{false};
    std::atomic<std::int64_t> samples{0};
    std::thread sampler([&] {
      do {
        const ParameterStats stats = swapper.stats();
        ASSERT_LE(stats.cached_elements, cap);
        ASSERT_LE(stats.pool_bytes, count * size);
        samples.fetch_add(1);
      } while (!over.load());
    });
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < 4; ++t)
      workers.emplace_back([&, t] {
        std::mt19937 random(seed + t);
        for (int i = 0; i < 120; ++i) {
          const std::size_t p = random() % ids.size();
          switch (random() % 8) {
            case 0: swapper.prefetch(units[random() % units.size()]); break;
            case 1: swapper.prefetch(ids[p], {4096, 500}); break;
            case 2: {
              Lease lease = swapper.fetch(ids[p], Access::update);
              lease.as<float>()[0] += 1;
              lease.commit();
              break;
            }
            case 3: {
              Lease lease = swapper.fetch(ids[p], Access::overwrite, {0, 4096});
              fill(lease.as<float>(), p, 0, i);
              if (random() % 3 != 0) lease.commit();
              break;
            }
            case 4: swapper.fetch(units[random() % units.size()]); break;
            case 5: swapper.begin_pass(random() % 2 == 0 ? "train" : "eval"); break;
            case 6: {
              std::vector<float> to(4096);
              swapper.read_into(ids[p], std::span(to), {0, 4096}).wait();
              break;
            }
            default: swapper.fetch(ids[p]); break;
          }
        }
      });
    for (std::thread& worker : workers) worker.join();
    over = true;
    sampler.join();
    EXPECT_GT(samples.load(), 0);
    swapper.flush();
    const ParameterStats stats = swapper.stats();
    EXPECT_LE(stats.peak_cached_elements, cap);
    EXPECT_LE(stats.peak_pool_bytes, count * size);
    EXPECT_EQ(stats.unwritten_bytes, 0);
  }
}

// What has just been written lies in the pool still. The first pass puts it into the cache, as far
// as that goes, and the second reads nothing.
TEST(ParameterLearningTest, WhatLiesInThePoolEntersTheCache) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 16, 64 * 1024, 100'000));
  ParameterSwapper swapper(context);
  std::vector<ParamId> ids;
  for (std::uint64_t i = 0; i < 8; ++i) {
    ids.push_back(swapper.add("p", 10'000, DType::f32));
    put(swapper, ids.back(), i, 1);
  }
  swapper.flush();
  for (int pass = 0; pass < 3; ++pass) {
    for (std::uint64_t i = 0; i < 8; ++i)
      ASSERT_EQ(copy_of(swapper.fetch(ids[i])), values(i, 0, 10'000, 1));
    EXPECT_EQ(swapper.stats().cached_elements, 80'000) << "pass " << pass;
  }
  EXPECT_EQ(swapper.stats().bytes_read, 0);
  EXPECT_EQ(swapper.stats().pool_bytes, 0) << "and its place in the pool is free";
}

// Changed piece by piece, a tensor that was read as a whole is not read again.
TEST(ParameterBytesTest, PiecesOfWhatWasReadWholeAreNotReadAgain) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 8, 64 * 1024));
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 30'000, DType::f32);
  put(swapper, id, 1, 1);
  swapper.flush();
  const ParamId large = swapper.add("large", 8 * 16 * 1024, DType::f32);
  { const Lease all = swapper.fetch(large, Access::overwrite); }
  EXPECT_EQ(swapper.prefetch(id), 1);
  for (std::int64_t at = 0; at < 30'000; at += 8192) {
    const std::int64_t count = std::min<std::int64_t>(8192, 30'000 - at);
    Lease lease = swapper.fetch(id, Access::update, {at, count});
    ASSERT_EQ(copy_of(lease), values(1, at, count, 1));
    fill(lease.as<float>(), 1, at, 2);
    lease.commit();
  }
  EXPECT_EQ(swapper.stats().bytes_read, (30'000 * 4 + 4095) / 4096 * 4096);
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 30'000, 2));
}

}  // namespace
}  // namespace spillway::test
