#include "cache/forecast.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>

namespace spillway::cache {
namespace {

using Ids = std::vector<TensorId>;

void run(Forecast& forecast, std::string_view name, const Ids& pass) {
  forecast.begin_pass(name);
  for (const TensorId id : pass) forecast.access(id);
}

// How far ahead the next use of `id` is; -1 for never.
std::int64_t ahead(const Forecast& forecast, TensorId id) {
  const Time use = forecast.next_use(id);
  return use == never ? -1 : static_cast<std::int64_t>(use - forecast.now());
}

const Ids train{0, 1, 2, 2, 1, 0}, eval{0, 1, 2};

TEST(ForecastTest, KnowsNothingBeforeASecondPass) {
  Forecast forecast;
  EXPECT_FALSE(forecast.known());
  run(forecast, "train", train);
  EXPECT_FALSE(forecast.known());
  EXPECT_EQ(forecast.next_use(0), never);
  EXPECT_FALSE(forecast.predicted(0));
  forecast.begin_pass("train");
  EXPECT_TRUE(forecast.known());
}

TEST(ForecastTest, LooksBeyondTheEndOfThePass) {
  Forecast forecast;
  run(forecast, "train", train);
  run(forecast, "train", {0, 1, 2, 2});  // 1 0 | 0 1 2 2 1 0 | 0 …
  EXPECT_EQ(ahead(forecast, 1), 0);
  EXPECT_EQ(ahead(forecast, 0), 1);
  EXPECT_EQ(ahead(forecast, 2), 4);
  EXPECT_EQ(forecast.next_use(0, forecast.now() + 2), forecast.now() + 2);
  EXPECT_EQ(forecast.next_use(0, forecast.now() + 3), forecast.now() + 7);
  EXPECT_EQ(ahead(forecast, 77), -1);
}

TEST(ForecastTest, TimesStayGoodWhileAllGoesAsPredicted) {
  Forecast forecast;
  run(forecast, "train", train);
  forecast.begin_pass("train");
  const std::uint64_t generation = forecast.generation();
  const Time two = forecast.next_use(2, forecast.now() + 6);
  for (const TensorId id : train) forecast.access(id);
  run(forecast, "train", {0, 1});
  EXPECT_EQ(forecast.generation(), generation);
  EXPECT_EQ(forecast.next_use(2), two);
  EXPECT_EQ(forecast.now(), two);
}

TEST(ForecastTest, PredictsTheOrderOfThePassesThemselves) {
  Forecast forecast;
  for (int i = 0; i < 2; ++i) {
    run(forecast, "train", {0, 1});
    run(forecast, "eval", {2, 3});
  }
  forecast.begin_pass("train");  // 0 1 | 2 3 | 0 1 | 2 3
  EXPECT_EQ(ahead(forecast, 1), 1);
  EXPECT_EQ(ahead(forecast, 2), 2);
  forecast.access(0);
  EXPECT_EQ(ahead(forecast, 0), 3);
  Ids next;
  Time from = 0;
  while (const auto use = forecast.predicted(from)) {
    next.push_back(use->id);
    from = use->when + 1;
  }
  EXPECT_EQ(next, (Ids{1, 2, 3, 0, 1, 2, 3}));
}

TEST(ForecastTest, AnotherPassThanPredictedIsANewGeneration) {
  Forecast forecast;
  for (int i = 0; i < 3; ++i) run(forecast, "train", train);
  run(forecast, "eval", eval);
  run(forecast, "eval", eval);
  const std::uint64_t generation = forecast.generation();
  forecast.begin_pass("train");
  EXPECT_NE(forecast.generation(), generation);
  EXPECT_TRUE(forecast.known()) << "its order is still that of training";
  forecast.access(0);
  EXPECT_EQ(ahead(forecast, 0), 4);
}

TEST(ForecastTest, ReportsWhatItGivesUpWaitingFor) {
  Ids pass(100);
  for (TensorId id = 0; id < 100; ++id) pass[id] = id;
  Forecast forecast;
  run(forecast, "train", pass);
  forecast.begin_pass("train");
  for (TensorId id = 0; id < 50; ++id) {
    if (id == 5) continue;
    EXPECT_EQ(ahead(forecast, 5) < 0, false);
    forecast.access(id);
    if (!forecast.overdue().empty()) {
      EXPECT_EQ(forecast.overdue()[0], 5u);
      EXPECT_EQ(id, 5u + Follower::patience);
      EXPECT_EQ(ahead(forecast, 5), 100 - 1 - static_cast<std::int64_t>(id) + 5);
    }
  }
}

TEST(ForecastTest, BrokenTwiceItMustProveItself) {
  Ids up(200), down(200);
  for (TensorId id = 0; id < 200; ++id) up[id] = down[199 - id] = id;
  Forecast forecast;
  for (int i = 0; i < 2; ++i) run(forecast, "train", up);
  for (int i = 0; i < 2; ++i) {
    const Ids& other = i == 0 ? down : up;
    forecast.begin_pass("train");
    EXPECT_TRUE(forecast.known()) << "the new order is used at once";
    for (const TensorId id : other) forecast.access(id);
    EXPECT_FALSE(forecast.known());
  }
  forecast.begin_pass("train");
  EXPECT_FALSE(forecast.known());
  for (TensorId id = 0; id < 64; ++id) forecast.access(id);
  EXPECT_TRUE(forecast.known());
  for (TensorId id = 64; id < 200; ++id) forecast.access(id);
  forecast.begin_pass("train");
  EXPECT_TRUE(forecast.known());
}

// A pass that only the one before has shown may be one of those that never come again.
TEST(ForecastTest, BrokenBeforeItWasConfirmedItMustProveItself) {
  Ids up(200), down(200);
  for (TensorId id = 0; id < 200; ++id) up[id] = down[199 - id] = id;
  Forecast forecast;
  run(forecast, "train", up);
  forecast.begin_pass("train");
  EXPECT_TRUE(forecast.known());
  for (TensorId id = 200; id-- > 197;) forecast.access(id);
  EXPECT_FALSE(forecast.known()) << "three strays are enough";
  for (TensorId id = 197; id-- > 0;) forecast.access(id);
  forecast.begin_pass("train");
  EXPECT_FALSE(forecast.known());
  for (const TensorId id : down) forecast.access(id);
  EXPECT_TRUE(forecast.known());
}

// What differs here and there is an order all the same, whatever lies close together.
TEST(ForecastTest, AFewStraysInARowBreakNoLongOrder) {
  Ids pass(600);
  std::iota(pass.begin(), pass.end(), TensorId{0});
  Forecast forecast;
  run(forecast, "train", pass);
  forecast.begin_pass("train");
  for (TensorId id = 0; id < 300; ++id) forecast.access(id);
  for (TensorId id = 0; id < 5; ++id) forecast.access(id);
  EXPECT_TRUE(forecast.known());
  for (TensorId id = 300; id < 600; ++id) forecast.access(id);
  forecast.begin_pass("train");
  EXPECT_TRUE(forecast.known());
}

// Random experts between layers that come every time: no pass breaks the order, each goes astray.
TEST(ForecastTest, WhatGoesAstrayEveryTimeIsNotBelieved) {
  Forecast forecast;
  const auto pass = [](TensorId expert) {
    Ids ids;
    for (TensorId layer = 0; layer < 40; ++layer) {
      for (TensorId id = 0; id < 8; ++id) ids.push_back(layer * 16 + id);
      ids.push_back(layer * 16 + 8 + expert);
      ids.push_back(layer * 16 + 8 + (expert + 1) % 8);
    }
    return ids;
  };
  for (int i = 0; i < 2; ++i) run(forecast, "train", pass(0));
  for (const TensorId expert : {2, 4, 6}) run(forecast, "train", pass(expert));
  forecast.begin_pass("train");
  EXPECT_FALSE(forecast.known());
}

TEST(ForecastTest, ForgetsRemovedTensors) {
  Forecast forecast;
  for (int i = 0; i < 2; ++i) run(forecast, "train", train);
  forecast.forget(1);
  EXPECT_EQ(forecast.next_use(1), never);
  const std::uint64_t generation = forecast.generation();
  run(forecast, "train", {0, 2, 2, 0});
  run(forecast, "train", {0, 2, 2});
  EXPECT_EQ(forecast.generation(), generation) << "the rest of the order goes on as before";
  EXPECT_EQ(ahead(forecast, 0) >= 0, true);
}

TEST(ForecastTest, ALeanerPassIsLearnedToo) {
  Forecast forecast;
  run(forecast, "train", train);
  run(forecast, "train", {0, 1});  // ended early
  forecast.begin_pass("train");
  forecast.access(0);
  EXPECT_EQ(ahead(forecast, 0), 1 + 0 + 0) << "0 1 | 0 1";
  EXPECT_EQ(ahead(forecast, 2), -1);
}

TEST(ForecastTest, EmptyPassesAreNoOrder) {
  Forecast forecast;
  for (int i = 0; i < 4; ++i) forecast.begin_pass("train");
  EXPECT_FALSE(forecast.known());
  forecast.access(3);
  forecast.begin_pass("train");
  EXPECT_TRUE(forecast.known());
  EXPECT_EQ(ahead(forecast, 3), 0);
}

TEST(ForecastTest, RemembersABoundedNumberOfNames) {
  Forecast forecast;
  for (int i = 0; i < 2000; ++i) {
    run(forecast, "step " + std::to_string(i), train);
    EXPECT_FALSE(forecast.known());
    if (i % 10 == 0) run(forecast, "train", train);
  }
  EXPECT_LT(forecast.heap_bytes(), 20000u);
  forecast.begin_pass("train");
  EXPECT_TRUE(forecast.known()) << "what is used again and again is not forgotten";
}

TEST(ForecastTest, APassWithoutEndIsNotWrittenDownForEver) {
  Forecast forecast;
  forecast.begin_pass("generate");
  for (int i = 0; i < 400000; ++i) forecast.access(static_cast<TensorId>(i % 7));
  EXPECT_LT(forecast.heap_bytes(), 100000u);
  forecast.begin_pass("generate");
  EXPECT_FALSE(forecast.known());
}

// The forecast of an undisturbed run against a search through what will really come.
TEST(ForecastTest, AgreesWithTheFuture) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  Ids passes[2];
  for (Ids& pass : passes)
    for (int i = 0; i < 60; ++i) pass.push_back(static_cast<TensorId>(random() % 25));
  const std::string names[] = {"train", "eval"};
  Forecast forecast;
  for (int i = 0; i < 4; ++i) run(forecast, names[i % 2], passes[i % 2]);
  Ids future;
  for (int i = 0; i < 8; ++i)
    future.insert(future.end(), passes[i % 2].begin(), passes[i % 2].end());
  for (std::size_t i = 0; i < 240; ++i) {
    if (i % 60 == 0) forecast.begin_pass(names[i / 60 % 2]);
    for (TensorId id = 0; id < 26; ++id) {
      const auto next =
          std::find(future.begin() + static_cast<std::ptrdiff_t>(i), future.end(), id);
      const auto distance = next - (future.begin() + static_cast<std::ptrdiff_t>(i));
      ASSERT_EQ(ahead(forecast, id), next == future.end() ? -1 : distance) << i << " " << id;
    }
    forecast.access(future[i]);
  }
}

TEST(CycleFinderTest, SeesWhereALoopStartsOver) {
  CycleFinder cycles;
  const Ids loop{9, 4, 7, 7, 4, 9};
  std::vector<int> starts;
  for (int i = 0; i < 60; ++i)
    if (cycles.access(loop[static_cast<std::size_t>(i) % loop.size()])) starts.push_back(i);
  ASSERT_GE(starts.size(), 5u);
  for (std::size_t i = 1; i < starts.size(); ++i) EXPECT_EQ(starts[i] - starts[i - 1], 6);
}

TEST(CycleFinderTest, SeesNoneWhereThereIsNone) {
  CycleFinder cycles;
  for (TensorId id = 0; id < 10000; ++id) EXPECT_FALSE(cycles.access(id));
}

}  // namespace
}  // namespace spillway::cache
