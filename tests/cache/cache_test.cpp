#include "cache/cache.h"

#include <gtest/gtest.h>

#include "cache/simulation.h"

namespace spillway::cache {
namespace {

using Ids = std::vector<TensorId>;

Ids list(std::span<const TensorId> ids) { return {ids.begin(), ids.end()}; }

// Tensors of one element each but for those that a test adds; the order is not known.
class CacheTest : public testing::Test {
 protected:
  void fill(Cache& cache, TensorId from, TensorId to) {
    for (TensorId id = from; id < to; ++id) {
      cache.add(id, 1);
      take(cache, id);
    }
  }
  void take(Cache& cache, TensorId id) {
    cache.access(id);
    ASSERT_TRUE(cache.reserve(id).admit);
    ASSERT_TRUE(cache.commit(id));
  }
};

TEST_F(CacheTest, EvictsTheLeastRecentlyUsedWhileTheOrderIsUnknown) {
  Cache cache(3);
  fill(cache, 0, 3);
  cache.access(0);
  cache.add(3, 2);
  cache.access(3);
  const Verdict verdict = cache.reserve(3);
  ASSERT_TRUE(verdict.admit);
  EXPECT_EQ(list(verdict.victims), (Ids{1, 2}));
  EXPECT_EQ(cache.used(), 3) << "nobody has left yet";
  cache.drop(1);
  cache.drop(2);
  EXPECT_TRUE(cache.commit(3));
  EXPECT_EQ(cache.used(), 3);
}

TEST_F(CacheTest, RefusesWhatCanNeverFit) {
  Cache cache(3);
  fill(cache, 0, 3);
  cache.add(3, 4);
  EXPECT_FALSE(cache.reserve(3).admit);
  EXPECT_EQ(cache.used(), 3);
  Cache none(0);
  none.add(0, 1);
  none.add(1, 0);
  EXPECT_FALSE(none.reserve(0).admit);
  EXPECT_TRUE(none.reserve(1).admit) << "nothing fits into nothing";
  EXPECT_TRUE(none.commit(1));
}

TEST_F(CacheTest, PinnedAndKeptTensorsAreNoVictims) {
  Cache cache(3);
  cache.add(0, 1, /*keep=*/true);
  take(cache, 0);
  fill(cache, 1, 3);
  cache.pin(1);
  cache.pin(1);
  cache.add(3, 2);
  EXPECT_FALSE(cache.reserve(3).admit);
  cache.unpin(1);
  EXPECT_FALSE(cache.reserve(3).admit) << "pinned once more";
  cache.unpin(1);
  const Verdict verdict = cache.reserve(3);
  ASSERT_TRUE(verdict.admit);
  EXPECT_EQ(list(verdict.victims), (Ids{1, 2}));
}

TEST_F(CacheTest, ACancelChangesNothing) {
  Cache cache(3);
  fill(cache, 0, 3);
  cache.add(3, 2);
  const Ids first = list(cache.reserve(3).victims);
  cache.cancel(3);
  EXPECT_FALSE(cache.resident(3));
  EXPECT_EQ(list(cache.reserve(3).victims), first);
}

TEST_F(CacheTest, ReservationsDoNotShareVictimsOrRoom) {
  Cache cache(4);
  fill(cache, 0, 3);  // one element is free
  cache.add(3, 2);
  cache.add(4, 2);
  cache.add(5, 1);
  const Ids first = list(cache.reserve(3).victims);
  EXPECT_EQ(first, (Ids{0})) << "and the free element";
  const Ids second = list(cache.reserve(4).victims);
  EXPECT_EQ(second, (Ids{1, 2}));
  EXPECT_FALSE(cache.reserve(5).admit) << "all is promised";
  for (const TensorId victim : second) cache.drop(victim);
  EXPECT_TRUE(cache.commit(4));
  cache.drop(0);
  EXPECT_TRUE(cache.commit(3));
  EXPECT_EQ(cache.used(), 4);
}

TEST_F(CacheTest, RoomToSpareIsFreeOnlyWhenTheVictimHasLeft) {
  Cache cache(4);
  cache.add(0, 4);
  take(cache, 0);
  cache.add(1, 1);
  cache.add(2, 3);
  ASSERT_TRUE(cache.reserve(1).admit);
  EXPECT_FALSE(cache.reserve(2).admit);
  cache.drop(0);
  EXPECT_TRUE(cache.reserve(2).admit);
  EXPECT_TRUE(cache.commit(2));
  EXPECT_TRUE(cache.commit(1)) << "its element was kept for it";
  EXPECT_EQ(cache.used(), 4);
}

TEST_F(CacheTest, AVictimThatIsUsedAgainStaysAndEndsTheReservation) {
  Cache cache(2);
  fill(cache, 0, 2);
  cache.add(2, 2);
  ASSERT_EQ(cache.reserve(2).victims.size(), 2u);
  EXPECT_TRUE(cache.promised(2));
  EXPECT_TRUE(cache.resident(1)) << "a victim is there until it is dropped";
  cache.drop(0);
  cache.pin(1);
  EXPECT_FALSE(cache.promised(2));
  EXPECT_FALSE(cache.commit(2));
  EXPECT_FALSE(cache.resident(2));
  EXPECT_EQ(cache.used(), 1);
  cache.unpin(1);
  EXPECT_EQ(list(cache.reserve(2).victims), (Ids{1})) << "and it may be asked again";
}

TEST_F(CacheTest, AVictimMoreThanNeededIsSpared) {
  Cache cache(10);
  cache.add(0, 1);
  cache.add(1, 9);
  take(cache, 0);
  take(cache, 1);
  cache.add(2, 9);
  cache.access(2);
  EXPECT_EQ(list(cache.reserve(2).victims), (Ids{1})) << "0 is older, but does not help";
}

TEST_F(CacheTest, ARemovedVictimLeavesRoom) {
  Cache cache(2);
  fill(cache, 0, 2);
  cache.add(2, 2);
  ASSERT_EQ(cache.reserve(2).victims.size(), 2u);
  cache.remove(0);
  cache.remove(1);
  cache.add(0, 1);
  EXPECT_TRUE(cache.commit(2));
  EXPECT_EQ(cache.used(), 2);
}

TEST_F(CacheTest, ALoopOverMixedSizesIsHitByTheTensorsThatFit) {
  Simulation simulation({3, 1, 1}, 3);
  simulation.pass("scan", {0, 1, 2});
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(simulation.pass("scan", {0, 1, 2}), 2.0 / 5, 1e-9);
    EXPECT_FALSE(simulation.cache().resident(0));
  }
}

TEST_F(CacheTest, AReadAheadDoesNotDisplaceWhatTheUseItselfWouldNot) {
  // A scan of 4 tensors in a cache of 2: two of them stay, the others never come in.
  Simulation simulation({1, 1, 1, 1}, 2);
  for (int i = 0; i < 3; ++i) simulation.pass("scan", {0, 1, 2, 3});
  Cache& cache = simulation.cache();
  cache.begin_pass("scan");
  EXPECT_TRUE(cache.resident(2) && cache.resident(3));
  const auto missing = cache.next_missing(0);
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->id, 0u);
  EXPECT_FALSE(cache.reserve_ahead(0, missing->when).admit);
}

TEST_F(CacheTest, WhatMustComeInDisplacesWhatIsNeededSoonerButNothingPinned) {
  Simulation simulation({1, 1, 2}, 2);
  for (int i = 0; i < 3; ++i) simulation.pass("train", {0, 1, 0, 1, 2, 0, 1});
  Cache& cache = simulation.cache();
  cache.begin_pass("train");
  simulation.run({0, 1});
  EXPECT_FALSE(cache.reserve(2).admit) << "0 and 1 are needed before it";
  cache.pin(0);
  EXPECT_FALSE(cache.reserve_at_any_price(2).admit);
  EXPECT_TRUE(cache.resident(0) && cache.resident(1));
  cache.unpin(0);
  const Verdict verdict = cache.reserve_at_any_price(2);
  ASSERT_TRUE(verdict.admit);
  EXPECT_EQ(verdict.victims.size(), 2U);
  cache.drop(0);
  cache.drop(1);
  EXPECT_TRUE(cache.commit(2));
  EXPECT_EQ(cache.used(), 2);
}

TEST_F(CacheTest, TheFirstAccessOfAForecastCanBeReadAheadToo) {
  Simulation simulation({1, 1, 1}, 1);
  simulation.pass("scan", {0, 1, 2});
  Cache& cache = simulation.cache();  // 2 in memory, needed last
  cache.begin_pass("scan");
  const auto missing = cache.next_missing(0);
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->id, 0u);
  EXPECT_FALSE(cache.reserve_ahead(0, missing->when).admit) << "after its use it is needed last";
}

TEST_F(CacheTest, WhatIsReadAheadStaysUntilItsUse) {
  Simulation simulation({1, 1, 1, 1}, 2);
  for (int i = 0; i < 3; ++i) simulation.pass("train", {0, 1, 2, 3, 3, 2, 1, 0});
  Cache& cache = simulation.cache();
  cache.begin_pass("train");  // 0, 1 in memory
  simulation.run({0, 1});
  const auto missing = cache.next_missing(0);
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->id, 2u);
  const Verdict verdict = cache.reserve_ahead(2, missing->when);
  ASSERT_TRUE(verdict.admit) << "used twice before 0 and 1 are";
  EXPECT_EQ(list(verdict.victims), (Ids{0}));
  cache.drop(0);
  ASSERT_TRUE(cache.commit(2));
  EXPECT_EQ(cache.next_missing(0)->id, 3u);
}

TEST_F(CacheTest, MissingTensorsAreListedInTheOrderOfTheirUse) {
  Simulation simulation({1, 1, 1, 1}, 4);
  for (int i = 0; i < 3; ++i) simulation.pass("scan", {0, 1, 2, 3});
  Cache& cache = simulation.cache();
  cache.begin_pass("scan");
  EXPECT_FALSE(cache.next_missing(0)) << "all is there";
  cache.drop(2);
  cache.drop(1);
  auto use = cache.next_missing(0);
  ASSERT_TRUE(use);
  EXPECT_EQ(use->id, 1u);
  use = cache.next_missing(use->when + 1);
  ASSERT_TRUE(use);
  EXPECT_EQ(use->id, 2u);
  ASSERT_TRUE(cache.reserve(1).admit);
  EXPECT_EQ(cache.next_missing(0)->id, 2u) << "1 is on its way";
  cache.cancel(1);
  EXPECT_EQ(cache.next_missing(0)->id, 1u);
  cache.remove(1);
  EXPECT_EQ(cache.next_missing(0)->id, 2u);
}

TEST_F(CacheTest, AKeptTensorComesInWhateverItsNextUse) {
  Cache cache(2);
  cache.add(0, 1);
  cache.add(1, 1);
  cache.add(2, 1, /*keep=*/true);
  for (int i = 0; i < 2; ++i) {
    cache.begin_pass("train");
    for (const TensorId id : {0u, 1u, 0u, 1u})
      if (cache.resident(id)) {
        cache.access(id);
      } else {
        take(cache, id);
      }
  }
  cache.access(2);
  const Verdict verdict = cache.reserve(2);
  ASSERT_TRUE(verdict.admit);
  ASSERT_EQ(verdict.victims.size(), 1u);
}

using CacheDeathTest = CacheTest;

// Four names take turns, so that at a use in the first nothing is known yet of its next one.
TEST_F(CacheTest, WhatAPassOutOfSightUsesIsNotThoughtUnusedForEver) {
  constexpr TensorId t = 0, u = 1, s = 2;
  Cache cache(2);
  for (const TensorId id : {t, u, s}) cache.add(id, 1);
  const auto pass = [&](std::string_view name, const Ids& ids) {
    cache.begin_pass(name);
    for (const TensorId id : ids) cache.access(id);
  };
  for (int i = 0; i < 3; ++i) {
    pass("a", {t});
    pass("b", {u});
    pass("c", {s});
    pass("d", {s, u});
  }
  cache.begin_pass("a");
  take(cache, t);
  pass("b", {u});
  cache.begin_pass("c");
  take(cache, s);
  pass("d", {s, u});
  ASSERT_TRUE(cache.forecast().known());
  const Verdict verdict = cache.reserve(u);
  ASSERT_TRUE(verdict.admit);
  EXPECT_EQ(list(verdict.victims), Ids{s}) << "t is used in a, u in b, s only in c";
}

TEST_F(CacheDeathTest, MisuseIsFoundAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Cache cache(2);
  fill(cache, 0, 2);
  cache.add(2, 1);
  EXPECT_DEATH(cache.add(2, 1), "in use");
  EXPECT_DEATH(cache.access(7), "no such tensor");
  EXPECT_DEATH(cache.commit(2), "without its reservation");
  EXPECT_DEATH(cache.unpin(0), "without its pin");
  EXPECT_DEATH(cache.pin(2), "resident");
  ASSERT_TRUE(cache.reserve(2).admit);
  EXPECT_DEATH(cache.commit(2), "still in memory");
  EXPECT_DEATH(cache.remove(2), "reserved");
  cache.pin(1);
  EXPECT_DEATH(cache.drop(1), "nobody uses it");
}

// A million tensors must cost little: this room's share is about 60 bytes for each.
TEST_F(CacheTest, TablesAreSmallAndDoNotGrowInASteadyLoop) {
  constexpr TensorId tensors = 250'000;
  Simulation simulation(std::vector<std::int64_t>(tensors, 10), 10LL * tensors / 2);
  Ids pass(2 * tensors);
  for (TensorId id = 0; id < tensors; ++id) pass[id] = pass[2 * tensors - 1 - id] = id;
  for (int i = 0; i < 2; ++i) simulation.pass("train", pass);
  const std::size_t bytes = simulation.cache().heap_bytes();
  EXPECT_LE(bytes, 60u * tensors) << bytes / tensors << " bytes for each";
  simulation.pass("train", pass);
  EXPECT_EQ(simulation.cache().heap_bytes(), bytes);
}

}  // namespace
}  // namespace spillway::cache
