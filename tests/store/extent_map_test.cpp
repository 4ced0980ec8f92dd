#include "store/extent_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "support/heap/heap.h"

namespace spillway::store {
namespace {

TEST(ExtentMapTest, NeighboursBecomeOne) {
  ExtentMap map;
  map.insert(0, 10);
  map.insert(20, 10);
  EXPECT_EQ(map.ranges(), 2u);
  map.insert(10, 10);
  EXPECT_EQ(map.ranges(), 1u);
  EXPECT_EQ(map.total(), 30);
  EXPECT_EQ(map.take(30), 0);
  EXPECT_EQ(map.total(), 0);
}

TEST(ExtentMapTest, TakesTheLowestThatIsLongEnough) {
  ExtentMap map;
  map.insert(0, 4);
  map.insert(10, 8);
  map.insert(30, 8);
  EXPECT_EQ(map.take(6), 10);
  EXPECT_EQ(map.take(4), 0);
  EXPECT_EQ(map.take(9), std::nullopt);
  EXPECT_EQ(map.total(), 10);
}

TEST(ExtentMapTest, CutsTheTail) {
  ExtentMap map;
  map.insert(0, 4);
  map.insert(10, 8);
  EXPECT_EQ(map.take_tail(20), 20) << "18 and 19 are in use";
  EXPECT_EQ(map.take_tail(18), 10);
  EXPECT_EQ(map.total(), 4);
}

TEST(ExtentMapTest, GrowsBeyondFourGibibytes) {
  ExtentMap map;
  const std::int64_t big = std::int64_t{5} << 32;
  map.insert(big, big);
  map.insert(0, big);
  EXPECT_EQ(map.take(2 * big), 0);
}

TEST(ExtentMapDeathTest, GivingBackTwiceIsABug) {
  ExtentMap map;
  map.insert(10, 10);
  EXPECT_DEATH(map.insert(15, 2), "given back twice");
  EXPECT_DEATH(map.insert(5, 6), "given back twice");
}

TEST(ExtentMapTest, WhatIsSetAsideStaysSoWhileRangesComeAndGo) {
  ExtentMap map;
  map.reserve(3);
  for (int i = 0; i < 3; ++i) map.insert(20 * i, 10);
  for (int round = 0; round < 10; ++round) {
    map.take_at(20, 10);
    ASSERT_EQ(map.take(10), 0);
    const std::int64_t before = test::heap().allocations;
    map.insert(20, 10);
    map.insert(0, 10);
    EXPECT_EQ(test::heap().allocations, before);
  }
}

// Against one bool per number.
TEST(ExtentMapTest, AgreesWithAModel) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  constexpr int line = 200;
  std::vector<bool> free(line, false);
  ExtentMap map;
  struct Taken {
    int start, length;
  };
  std::vector<Taken> taken{{0, line}};
  for (int step = 0; step < 3000; ++step) {
    if (!taken.empty() && random() % 2 == 0) {
      const std::size_t which = random() % taken.size();
      Taken given = taken[which];
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(which));
      // Sometimes only a part of it.
      const int part = 1 + static_cast<int>(random() % static_cast<unsigned>(given.length));
      if (part < given.length) taken.push_back({given.start + part, given.length - part});
      map.insert(given.start, part);
      for (int i = 0; i < part; ++i) free[static_cast<std::size_t>(given.start + i)] = true;
    } else {
      const int length = 1 + static_cast<int>(random() % 20);
      int expected = -1;
      for (int start = 0, run = 0; start < line && expected < 0; ++start) {
        run = free[static_cast<std::size_t>(start)] ? run + 1 : 0;
        if (run == length) expected = start - length + 1;
      }
      const auto got = map.take(length);
      ASSERT_EQ(got.value_or(-1), expected);
      if (expected < 0) continue;
      for (int i = 0; i < length; ++i) free[static_cast<std::size_t>(expected + i)] = false;
      taken.push_back({expected, length});
    }
    ASSERT_EQ(map.total(), std::count(free.begin(), free.end(), true));
  }
}

}  // namespace
}  // namespace spillway::store
