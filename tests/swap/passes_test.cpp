// What a pass moves and yields: only the named states of the chosen units and parameters.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <tuple>

#include "swap/contents.h"

namespace spillway {
namespace {

using test::error_of;
using test::Home;
using test::Trainer;

// Two tiles and a bit, nothing, one, and small ones that share a tile.
const std::vector<std::int64_t> sizes{10000, 0, 1, 4097, 300, 7, 64};

using Piece = std::tuple<ParamId, std::int64_t, std::int64_t>;  // param, offset, count

std::vector<Piece> pull(Run run) {
  std::vector<Piece> pieces;
  while (auto tile = run.next()) {
    for (const Slice& slice : tile->slices())
      pieces.emplace_back(slice.param, slice.offset, slice.count);
    tile->commit();
  }
  return pieces;
}

class PassTest : public ::testing::TestWithParam<Home> {
 protected:
  test::Scratch scratch_;
  Context context_{test::config_for(GetParam(), scratch_.path())};
};

TEST_P(PassTest, EveryElementIsYieldedOnceInOrderOfRegistration) {
  Trainer trainer(context_, sizes, false, 3);
  Pass save;
  save.read = {"w"};
  save.order = Order::registration;
  std::vector<std::int64_t> seen(sizes.size(), 0);
  std::uint32_t last = 0;
  for (const auto& [param, offset, count] : pull(trainer.swapper.begin(save))) {
    const auto index = static_cast<std::uint32_t>(param);
    EXPECT_GE(index, last) << "units and parameters come as they were added";
    last = index;
    EXPECT_EQ(offset, seen[index]) << "a parameter's slices come from front to back";
    EXPECT_EQ(offset % 4096, 0);
    EXPECT_GT(count, 0);
    seen[index] += count;
  }
  EXPECT_EQ(seen, sizes);
}

TEST_P(PassTest, OnlyYieldsTheChosenAndLeavesTheOthersBytes) {
  Trainer trainer(context_, sizes);
  trainer.load();
  for (std::size_t chosen : {std::size_t{0}, std::size_t{3}, std::size_t{5}, std::size_t{1}}) {
    Pass pass;
    pass.only = {trainer.ids[chosen]};
    auto run = trainer.swapper.begin(pass);
    std::int64_t seen = 0;
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) {
        EXPECT_EQ(slice.param, trainer.ids[chosen]);
        EXPECT_EQ(slice.tag, chosen + 1);
        seen += slice.count;
        test::update(slice, 1);
      }
      tile->commit();
    }
    EXPECT_EQ(seen, sizes[chosen]);
    test::Twin::step(trainer.twin.params[chosen], 1);
    trainer.expect_equal("after a pass over p" + std::to_string(chosen));
  }
}

// A pass that only writes one parameter of a shared tile must not spoil its neighbours.
TEST_P(PassTest, WritingOneOfATileKeepsTheOthers) {
  Trainer trainer(context_, sizes);
  trainer.load();
  Pass pass;
  pass.only = {trainer.ids[4]};
  pass.write = {"m"};
  auto run = trainer.swapper.begin(pass);
  while (auto tile = run.next()) {
    for (const Slice& slice : tile->slices()) std::ranges::fill(slice.of<float>("m"), 42.0f);
    tile->commit();
  }
  trainer.twin.params[4].m.assign(trainer.twin.params[4].m.size(), 42.0f);
  trainer.expect_equal("after the pass");
}

TEST_P(PassTest, ReadOnlyAndUntouchedTilesChangeAndWriteNothing) {
  Trainer trainer(context_, sizes);
  trainer.load();
  const std::int64_t written = trainer.swapper.stats().bytes_written;
  pull(trainer.swapper.begin({.read = {"w", "m", "v"}}));
  pull(trainer.swapper.begin({}));  // may write, and does not ask for mutable bytes
  EXPECT_EQ(trainer.swapper.stats().bytes_written, written);
  trainer.expect_equal("after both");
}

TEST_P(PassTest, UpcomingTellsWhatNextWillYield) {
  Trainer trainer(context_, sizes, false, 4);
  std::vector<Piece> foretold, yielded;
  auto run = trainer.swapper.begin({});
  for (;;) {
    const auto upcoming = run.upcoming();
    if (!upcoming.empty()) {
      EXPECT_EQ(error_of([&] { std::ignore = upcoming[0].of<const float>("w"); }),
                Errc::invalid_argument);
    }
    std::vector<Piece> nearest;
    for (const Slice& slice : upcoming)
      nearest.emplace_back(slice.param, slice.offset, slice.count);
    auto tile = run.next();
    if (!tile) {
      EXPECT_TRUE(nearest.empty());
      break;
    }
    const auto slices = tile->slices();
    ASSERT_GE(nearest.size(), slices.size());
    for (std::size_t i = 0; i < slices.size(); ++i) {
      EXPECT_EQ(nearest[i], Piece(slices[i].param, slices[i].offset, slices[i].count));
      EXPECT_EQ(slices[i].tag, static_cast<std::uint64_t>(slices[i].param) + 1);
    }
    tile->commit();
  }
}

TEST_P(PassTest, OneTileMoreThanTheBuffersAllowWouldDeadlock) {
  Trainer trainer(context_, {40000});
  trainer.load();
  auto run = trainer.swapper.begin_step(1);
  auto first = run.next();
  auto second = run.next();
  std::string text;
  EXPECT_EQ(error_of([&] { run.next(); }, &text), Errc::would_deadlock);
  EXPECT_NE(text.find("buffer_count"), std::string::npos) << text;
  for (const Slice& slice : second->slices()) test::update(slice, 1);
  second->commit();
  auto third = run.next();  // the run has not suffered
  ASSERT_TRUE(third);
  for (const Slice& slice : first->slices()) test::update(slice, 1);
  for (const Slice& slice : third->slices()) test::update(slice, 1);
  third->commit();
  first->commit();
  while (auto tile = run.next()) {
    for (const Slice& slice : tile->slices()) test::update(slice, 1);
    tile->commit();
  }
  trainer.twin.step(1);
  trainer.expect_equal("after the step");
}

TEST_P(PassTest, OverlappingPassesAreBusyAndDisjointOnesInterleave) {
  Trainer trainer(context_, {20000, 30, 5000, 12289, 1}, false, 2);
  trainer.load();
  Pass front, back;
  front.step = back.step = 1;
  front.units = {trainer.units[0]};
  back.units = {trainer.units[1], trainer.units[2]};
  {
    auto one = trainer.swapper.begin(front);
    EXPECT_EQ(error_of([&] { trainer.swapper.begin_step(1); }), Errc::busy);
    EXPECT_EQ(error_of([&] { trainer.swapper.add("late", 1); }), Errc::busy);
    EXPECT_EQ(error_of([&] { trainer.swapper.remove(trainer.ids[4]); }), Errc::busy);
    EXPECT_EQ(error_of([&] { trainer.swapper.reset("m"); }), Errc::busy);
    EXPECT_EQ(error_of([&] { trainer.swapper.add_unit("late"); }), Errc::busy);
    auto two = trainer.swapper.begin(back);
    for (bool more = true; more;) {
      more = false;
      for (spillway::Run* run : {&one, &two})
        if (auto tile = run->next()) {
          for (const Slice& slice : tile->slices()) test::update(slice, 1);
          tile->commit();
          more = true;
        }
    }
    // Both have come to their end: their units are free although the runs are still in scope.
    trainer.swapper.add("late", 1);
    EXPECT_FALSE(one.next());
    EXPECT_FALSE(two.next());
    EXPECT_TRUE(one.upcoming().empty());
  }
  trainer.twin.step(1);
  trainer.expect_equal("after both");
}

TEST_P(PassTest, DisjointPassesOnThreadsOfTheirOwn) {
  std::vector<std::int64_t> many;
  for (int i = 0; i < 12; ++i) many.push_back(1000 + 3500 * i);
  Config config = test::config_for(GetParam(), scratch_.path());
  config.offload_optimizer.buffer_count = 5;
  Context context(config);
  Trainer trainer(context, many, false, 3);
  trainer.load();
  for (std::int64_t n = 1; n <= 3; ++n) {
    std::vector<std::thread> threads;
    std::atomic<int> failures{0};
    for (UnitId unit : trainer.units)
      threads.emplace_back([&, unit] {
        try {
          Pass pass;
          pass.step = n;
          pass.units = {unit};
          auto run = trainer.swapper.begin(pass);
          while (auto tile = run.next()) {
            for (const Slice& slice : tile->slices()) test::update(slice, n);
            tile->commit();
          }
        } catch (const Error& error) {
          ++failures;
          ADD_FAILURE() << error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(failures, 0);
    trainer.twin.step(n);
  }
  trainer.expect_equal("after three steps");
}

TEST_P(PassTest, WhatCanNeverBeRightIsRefused) {
  Trainer trainer(context_, sizes);
  OptimizerSwapper& swapper = trainer.swapper;
  const auto refused = [&](const Pass& pass) {
    return error_of([&] { swapper.begin(pass); }) == Errc::invalid_argument;
  };
  EXPECT_TRUE(refused({.step = -1}));
  EXPECT_TRUE(refused({.read = {"w", "x"}}));
  EXPECT_TRUE(refused({.write = {""}}));
  EXPECT_TRUE(refused({.units = {UnitId{99}}}));
  EXPECT_TRUE(refused({.only = {ParamId{99}}}));
  auto run = swapper.begin({.read = {"w", "m"}, .write = {"m"}});
  auto tile = run.next();
  const Slice& slice = tile->slices()[0];
  const auto bad = [&](auto call) { return error_of(call) == Errc::invalid_argument; };
  EXPECT_TRUE(bad([&] { std::ignore = slice.of<float>("w"); })) << "only read";
  EXPECT_TRUE(bad([&] { std::ignore = slice.of<const float>("v"); })) << "not in this pass";
  EXPECT_TRUE(bad([&] { std::ignore = slice.of<const float>("x"); })) << "no such state";
  EXPECT_TRUE(bad([&] { std::ignore = slice.of<const bf16>("w"); })) << "another dtype";
  EXPECT_EQ(slice.of<const float>("w").size(), static_cast<std::size_t>(slice.count));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slice.of<float>("m").data()) % 64, 0u);
  tile->commit();
  EXPECT_TRUE(bad([&] { tile->commit(); })) << "committed twice";
  EXPECT_TRUE(tile->slices().empty());
  auto next = run.next();
  Tile moved = std::move(*next);
  EXPECT_TRUE(bad([&] { next->commit(); })) << "moved from";
  moved.commit();
  auto other = std::move(run);
  EXPECT_TRUE(bad([&] { run.next(); })) << "moved from";
  EXPECT_TRUE(bad([&] { run.upcoming(); })) << "moved from";
}

TEST_P(PassTest, NothingChosenYieldsNothing) {
  Trainer trainer(context_, sizes);
  EXPECT_TRUE(pull(trainer.swapper.begin({.units = std::vector<UnitId>{}})).empty());
  EXPECT_TRUE(pull(trainer.swapper.begin({.only = std::vector<ParamId>{}})).empty());
  EXPECT_TRUE(pull(trainer.swapper.begin({.only = {trainer.ids[1]}})).empty()) << "0 elements";
  OptimizerSwapper none(context_, {.states = {{"w"}}});
  EXPECT_TRUE(pull(none.begin_step(1)).empty());
}

INSTANTIATE_TEST_SUITE_P(All, PassTest, ::testing::ValuesIn(test::homes()), test::home_name);

// ---- bytes, to the byte

class PassBytesTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t elements = 8 * 4096;
  test::Scratch scratch_;
  Context context_{test::config_for({}, scratch_.path())};
  Trainer trainer_{context_, {elements, elements}, false, 1};

  std::pair<std::int64_t, std::int64_t> moved(const Pass& pass) {
    const OptimizerStats before = trainer_.swapper.stats();
    auto run = trainer_.swapper.begin(pass);
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices())
        for (const char* state : {"w", "m", "v"}) {
          const bool all = pass.read.empty() && pass.write.empty();
          const auto names = pass.write.names();
          if (!all && std::find(names.begin(), names.end(), state) == names.end()) continue;
          for (float& value : slice.of<float>(state)) value = 1;
        }
      tile->commit();
    }
    EXPECT_FALSE(run.next());
    const OptimizerStats after = trainer_.swapper.stats();
    EXPECT_EQ(context_.stats().bytes_written, after.bytes_written);
    return {after.bytes_read - before.bytes_read, after.bytes_written - before.bytes_written};
  }
};

TEST_F(PassBytesTest, OnlyWhatIsNamedMoves) {
  constexpr std::int64_t state = 4 * elements;  // of one parameter
  using Bytes = std::pair<std::int64_t, std::int64_t>;
  EXPECT_EQ(moved({}), Bytes(0, 6 * state)) << "never written: nothing to read";
  EXPECT_EQ(moved({}), Bytes(6 * state, 6 * state)) << "24 bytes per parameter";
  EXPECT_EQ(moved({.read = {"w"}, .write = {"w"}}), Bytes(2 * state, 2 * state)) << "a third";
  EXPECT_EQ(moved({.read = {"w"}}), Bytes(2 * state, 0)) << "4 bytes per parameter";
  EXPECT_EQ(moved({.write = {"m", "v"}}), Bytes(0, 4 * state)) << "a load reads nothing";
  EXPECT_EQ(moved({.units = {trainer_.units[1]}}), Bytes(3 * state, 3 * state)) << "one unit";
  EXPECT_EQ(moved({.read = {"m"}, .write = {"v"}}), Bytes(2 * state, 2 * state));
  EXPECT_EQ(moved({.units = std::vector<UnitId>{}}), Bytes(0, 0));
}

TEST_F(PassBytesTest, AWriteOnlyTileMustBeWrittenWhole) {
  Trainer small(context_, {100, 200, 300});
  small.load();
  auto run = small.swapper.begin({.write = {"m"}});
  auto tile = run.next();
  ASSERT_EQ(tile->slices().size(), 3u);
  std::ranges::fill(tile->slices()[0].of<float>("m"), 5.0f);
  std::string text;
  EXPECT_EQ(error_of([&] { tile->commit(); }, &text), Errc::invalid_argument);
  EXPECT_NE(text.find("\"p1\""), std::string::npos) << text;
  std::ranges::fill(tile->slices()[1].of<float>("m"), 6.0f);
  std::ranges::fill(tile->slices()[2].of<float>("m"), 7.0f);
  tile->commit();
  EXPECT_FALSE(run.next());
  small.twin.params[0].m.assign(100, 5.0f);
  small.twin.params[1].m.assign(200, 6.0f);
  small.twin.params[2].m.assign(300, 7.0f);
  small.expect_equal("after the commit");
}

// Two swappers of one context write at the same time; each has spare slots of its own.
TEST_F(PassBytesTest, SwappersSideBySide) {
  Trainer other(context_, {elements, 5}, false, 1);
  for (std::int64_t n = 1; n <= 4; ++n) {
    std::thread thread([&] { other.step(n); });
    trainer_.step(n);
    thread.join();
    other.twin.step(n);
    trainer_.twin.step(n);
  }
  // The twins start from weights that were never loaded here: compare the moments.
  for (const Trainer* one : {&trainer_, &other})
    for (std::size_t i = 0; i < one->ids.size(); ++i)
      EXPECT_EQ(test::read(const_cast<Trainer*>(one)->swapper, one->ids[i], "m"),
                one->twin.params[i].m);
  EXPECT_EQ(other.swapper.stats().write_retries, 0);
  EXPECT_EQ(trainer_.swapper.stats().write_retries, 0);
}

}  // namespace
}  // namespace spillway
