// Units larger than the pool: the cache has to take the rest of them, whatever else it holds.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "swap/parameter_fixture.h"

namespace spillway::test {
namespace {

constexpr std::int64_t count = 4, size = 64 * 1024;  // a pool of 256 KiB
constexpr std::int64_t elements = 20'000;            // 80 KiB each: three of them fill it

class ParameterLargeUnitTest : public testing::Test {
 protected:
  explicit ParameterLargeUnitTest(std::int64_t cap = 5 * elements)
      : context_(parameter_config(OffloadDevice::nvme, scratch_.path(), count, size, cap)),
        swapper_(context_, {.timeout = 10}) {}

  /// A unit of written parameters, with tags that go on from those before.
  UnitId unit(const std::vector<std::int64_t>& sizes, bool keep = false) {
    const UnitId made = swapper_.add_unit("unit " + std::to_string(first_tags_.size()));
    first_tags_.push_back(ids_.size());
    for (const std::int64_t one : sizes) {
      const std::uint64_t tag = ids_.size();
      ids_.push_back(swapper_.add("p", one, DType::f32, {.unit = made, .tag = tag, .keep = keep}));
      write(ids_.back(), tag, one);
    }
    swapper_.flush();
    return made;
  }

  // In ranges: an overwrite takes its own size of the pool.
  void write(ParamId id, std::uint64_t tag, std::int64_t all) {
    for (std::int64_t at = 0; at < all; at += 40'960)
      put(swapper_, id, tag, 1, {at, std::min<std::int64_t>(40'960, all - at)});
  }

  static void expect_right(const Lease& lease) {
    for (const View& view : lease.tensors())
      EXPECT_EQ(copy_of(view), values(view.tag, 0, view.count, 1));
  }

  void expect_within_budgets(std::int64_t cap = 5 * elements) {
    const ParameterStats stats = swapper_.stats();
    EXPECT_LE(stats.peak_cached_elements, cap);
    EXPECT_LE(stats.peak_pool_bytes, count * size);
  }

  const Scratch scratch_;
  Context context_;
  ParameterSwapper swapper_;
  std::vector<ParamId> ids_;
  std::vector<std::size_t> first_tags_;
};

class SmallCacheTest : public ParameterLargeUnitTest {
 protected:
  SmallCacheTest() : ParameterLargeUnitTest(2 * elements) {}
};

// What is needed sooner than it fills the cache from the second pass on.
TEST_F(ParameterLargeUnitTest, IsServedInEveryPass) {
  const std::vector<UnitId> small = {unit({elements, elements}), unit({elements, elements})};
  const UnitId large = unit(std::vector<std::int64_t>(7, elements));
  for (int pass = 0; pass < 6; ++pass) {
    swapper_.begin_pass("train");
    for (int i = 0; i < 3; ++i)
      for (const UnitId one : small) expect_right(swapper_.fetch(one));
    expect_right(swapper_.fetch(large));
    for (const UnitId one : small) expect_right(swapper_.fetch(one));
  }
  expect_within_budgets();
}

TEST_F(ParameterLargeUnitTest, OneParameterCanBeLargerThanThePoolToo) {
  const ParamId large = swapper_.add("large", 5 * elements, DType::f32, {.tag = 99});
  const UnitId small = unit({elements, elements});
  write(large, 99, 5 * elements);
  for (int pass = 0; pass < 4; ++pass) {
    swapper_.begin_pass("train");
    for (int i = 0; i < 3; ++i) expect_right(swapper_.fetch(small));
    expect_right(swapper_.fetch(large));
  }
  expect_within_budgets();
}

// The cache takes 40,000 elements: the largest would leave too much for the pool, the others do.
TEST_F(SmallCacheTest, TheSmallOnesGoIntoTheCacheWhereTheLargestWouldNotDo) {
  const UnitId large = unit({30'000, 20'000, 20'000, 20'000});
  for (int pass = 0; pass < 3; ++pass) {
    swapper_.begin_pass("train");
    expect_right(swapper_.fetch(large));
  }
  expect_within_budgets(2 * elements);
}

// The pool takes 65,536 elements, the cache 100,000.

// The second must go into the cache, which has no room for it beside the first.
TEST_F(ParameterLargeUnitTest, WhatIsCachedOfItGoesForWhatMustBe) {
  const UnitId large = unit({40'000, 100'000, 20'000});
  for (const std::size_t first : {0, 2, 1}) {
    swapper_.fetch(ids_[first]);  // it is cached
    expect_right(swapper_.fetch(large));
  }
  expect_within_budgets();
}

// The second and the third are the only choice, neither of the largest nor of the smallest.
TEST_F(ParameterLargeUnitTest, TheOneChoiceThatServesIsFound) {
  const UnitId large = unit({56'000, 49'000, 48'000, 8'000});
  for (const std::size_t first : {0, 1, 2, 3}) {
    swapper_.fetch(ids_[first]);
    expect_right(swapper_.fetch(large));
  }
  expect_within_budgets();
}

// Its third lies in the middle of the cache. On either side there is half of what its first needs.
TEST_F(ParameterLargeUnitTest, WhatItHasOfTheCacheMakesRoomForTheRest) {
  unit({20'000, 20'000, 20'000, 20'000});
  const UnitId large = unit({80'000, 60'000, 20'000});
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t i : {0, 1, 6, 2, 3}) swapper_.fetch(ids_[i]);
    expect_right(swapper_.fetch(large));
  }
  EXPECT_GT(swapper_.stats().moves, 0);
  expect_within_budgets();
}

// Each cached parameter ends on the alignment: many small ones take all of the cache's memory long
// before they are as many elements as it may hold.
TEST_F(ParameterLargeUnitTest, ManySmallOnesMakeRoom) {
  unit(std::vector<std::int64_t>(700, 1));
  const UnitId large = unit({80'000, 60'000});
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < 700; ++i) swapper_.fetch(ids_[i]);
    expect_right(swapper_.fetch(large));
  }
  expect_within_budgets();
}

// A model that is added and filled piece by piece has a cache in one piece all the same.
TEST_F(ParameterLargeUnitTest, TheLastOneAddedCanTakeAllOfTheCache) {
  for (int i = 0; i < 3; ++i) unit({elements});
  swapper_.begin_pass("train");
  const ParamId large = swapper_.add("large", 5 * elements, DType::f32, {.tag = 99});
  write(large, 99, 5 * elements);
  for (int round = 0; round < 2; ++round) {
    const Lease lease = swapper_.fetch(large);
    EXPECT_EQ(copy_of(lease.tensors()[0]), values(99, 0, 5 * elements, 1));
  }
  EXPECT_EQ(swapper_.where(large), Residence::memory);
  expect_within_budgets();
}

TEST_F(ParameterLargeUnitTest, TwoThreadsBothFinish) {
  const std::vector<UnitId> large = {unit(std::vector<std::int64_t>(7, elements)),
                                     unit(std::vector<std::int64_t>(6, elements))};
  std::vector<std::thread> threads;
  for (const UnitId one : large)
    threads.emplace_back([&, one] {
      for (int i = 0; i < 40; ++i) expect_right(swapper_.fetch(one));
    });
  threads.emplace_back([&] {  // what others have cached comes and goes
    std::mt19937 random(1);
    for (int i = 0; i < 200; ++i) expect_right(swapper_.fetch(ids_[random() % ids_.size()]));
  });
  for (std::thread& thread : threads) thread.join();
  expect_within_budgets();
}

TEST_F(ParameterLargeUnitTest, ItWaitsForLeasesThatHoldTheCache) {
  const UnitId small = unit(std::vector<std::int64_t>(4, elements));
  const UnitId large = unit(std::vector<std::int64_t>(7, elements));
  swapper_.fetch(small);  // it is cached
  std::optional<Lease> lease = swapper_.fetch(small);
  std::thread holder([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    lease.reset();
  });
  expect_right(swapper_.fetch(large));
  holder.join();
  EXPECT_GT(swapper_.stats().stall_memory_seconds, 0);
  expect_within_budgets();
}

TEST_F(ParameterLargeUnitTest, WhatIsCommittedAndNotWrittenYetIsInIt) {
  const UnitId large = unit(std::vector<std::int64_t>(7, elements));
  for (std::int64_t version = 2; version < 8; ++version) {
    put(swapper_, ids_[static_cast<std::size_t>(version % 7)],
        static_cast<std::uint64_t>(version % 7), version);
    const Lease lease = swapper_.fetch(large);
    EXPECT_EQ(copy_of(lease.tensors()[static_cast<std::size_t>(version % 7)]),
              values(static_cast<std::uint64_t>(version % 7), 0, elements, version));
  }
  expect_within_budgets();
}

TEST_F(ParameterLargeUnitTest, LargerThanBothBudgetsSaysSo) {
  const UnitId beyond = unit(std::vector<std::int64_t>(9, elements));
  std::string text;
  EXPECT_EQ(code_of([&] { swapper_.fetch(beyond); }, &text), Errc::does_not_fit);
  EXPECT_NE(text.find("unit 0"), std::string::npos) << text;
  EXPECT_NE(text.find("buffer_count to 12"), std::string::npos) << text;
}

// What is to be kept whatever else is needed stands in the way for ever: that is said at once.
TEST_F(ParameterLargeUnitTest, KeptParametersCanLeaveNoRoomForIt) {
  const UnitId kept = unit(std::vector<std::int64_t>(4, elements), true);
  const UnitId large = unit(std::vector<std::int64_t>(7, elements));
  swapper_.fetch(kept);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i)
        EXPECT_EQ(code_of([&] { swapper_.fetch(large); }), Errc::does_not_fit) << "not a timeout";
    });
  for (std::thread& thread : threads) thread.join();
  expect_right(swapper_.fetch(kept));
}

}  // namespace
}  // namespace spillway::test
