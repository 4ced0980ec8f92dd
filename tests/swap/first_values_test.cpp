// Masters that start as what 16-bit parameters hold: tile by tile, through the pipeline, and with
// the same bits whether they are written at the start or made when first read.

#include <gtest/gtest.h>

#include <thread>
#include <tuple>

#include "swap/mixed_precision.h"

namespace spillway {
namespace {

using test::error_of;
using test::Home;
using test::MixedTrainer;

const std::vector<std::int64_t> sizes{1, 0, 4097, 4095, 30000, 7, 64, 8192, 20001};

class FirstValuesProductTest
    : public ::testing::TestWithParam<std::tuple<DType, Home, std::tuple<bool, bool>, bool>> {};

TEST_P(FirstValuesProductTest, BitsEqualThoseOfPlainMemory) {
  const auto& [dtype, place, pipeline, fast_init] = GetParam();
  const test::Scratch scratch;
  Home home = place;
  std::tie(home.pipeline_read, home.pipeline_write) = pipeline;
  Config config = test::mixed_config(home, scratch.path());
  config.offload_optimizer.fast_init = fast_init;
  {
    Context context(config);
    MixedTrainer trainer(context, dtype, sizes, false, 5);
    trainer.empty_pool(512 * 1024);
    for (std::int64_t n = 1; n <= 3; ++n) trainer.both(n);
    trainer.add(5000);  // between steps: its masters come with the next one
    for (std::int64_t n = 4; n <= 5; ++n) trainer.both(n);
    trainer.expect_equal("after five steps");
  }
  EXPECT_TRUE(scratch.empty()) << "something was left in the path";
}

std::vector<Home> places() {
  return {{.device = OffloadDevice::none},
          {.device = OffloadDevice::cpu},
          {.ratio = 0},
          {.ratio = 0.37},
          {.ratio = 1}};
}

INSTANTIATE_TEST_SUITE_P(
    All, FirstValuesProductTest,
    ::testing::Combine(::testing::Values(DType::f16, DType::bf16, DType::f32),
                       ::testing::ValuesIn(places()),
                       ::testing::Values(std::tuple{false, false}, std::tuple{true, false},
                                         std::tuple{false, true}, std::tuple{true, true}),
                       ::testing::Bool()),
    [](const auto& one) {
      Home home = std::get<1>(one.param);
      std::tie(home.pipeline_read, home.pipeline_write) = std::get<2>(one.param);
      return std::string(to_string(std::get<0>(one.param))) + "_" + test::describe(home) +
             (std::get<3>(one.param) ? "_fast" : "_slow");
    });

class FirstValuesTest : public ::testing::TestWithParam<Home> {
 protected:
  bool stored() const { return GetParam().device == OffloadDevice::nvme; }
  // [bytes] that reading all parameters once takes.
  static std::int64_t once(const MixedTrainer& trainer) {
    std::int64_t bytes = 0;
    for (const auto& param : trainer.twin.params)
      bytes += (std::ssize(param.w) * width(trainer.dtype) + 4095) / 4096 * 4096;
    return bytes;
  }
  test::Scratch scratch_;
};

INSTANTIATE_TEST_SUITE_P(Places, FirstValuesTest, ::testing::ValuesIn(places()), test::home_name);

// Each parameter is read once, whole; an overwrite reads nothing; with fast_init no state is
// written before the step, and none is read in it.
TEST_P(FirstValuesTest, BytesAreExact) {
  for (const bool fast_init : {true, false}) {
    // Room for what is read ahead beside what is written behind: else some of it is read twice.
    Config config = test::mixed_config(GetParam(), scratch_.path(), 32);
    config.offload_optimizer.fast_init = fast_init;
    Context context(config);
    MixedTrainer trainer(context, DType::bf16, sizes);
    trainer.empty_pool(32 * 64 * 1024);
    const ParameterStats before = trainer.lp.stats();
    trainer.hp.seal();
    const OptimizerStats sealed = trainer.hp.stats();
    const std::int64_t at_seal = trainer.lp.stats().bytes_read - before.bytes_read;
    EXPECT_EQ(at_seal, stored() && !fast_init ? once(trainer) : 0);
    trainer.both(1);
    trainer.lp.flush();
    EXPECT_EQ(trainer.lp.stats().bytes_read - before.bytes_read, stored() ? once(trainer) : 0);
    EXPECT_EQ(trainer.lp.stats().bytes_written - before.bytes_written,
              stored() ? once(trainer) : 0);
    const OptimizerStats stepped = trainer.hp.stats();
    const bool on_disk = stored() && GetParam().ratio > 0;
    if (fast_init) {
      EXPECT_EQ(sealed.bytes_written, 0);
      EXPECT_EQ(stepped.bytes_read, 0);
      EXPECT_EQ(stepped.bytes_written > 0, on_disk);
    } else {
      EXPECT_EQ(sealed.bytes_written > 0, on_disk);
      EXPECT_EQ(stepped.bytes_read, sealed.bytes_written);
      EXPECT_EQ(stepped.bytes_written, 2 * sealed.bytes_written);
    }
    trainer.expect_equal("after the step");
  }
}

TEST_P(FirstValuesTest, TheyAreThereBeforeAnyStep) {
  Context context(test::mixed_config(GetParam(), scratch_.path()));
  MixedTrainer trainer(context, DType::f16, sizes);
  trainer.expect_equal("by read_state");
  for (int twice = 0; twice < 2; ++twice) {
    spillway::Run save = trainer.hp.begin({.read = {"w"}});
    while (auto tile = save.next()) {
      for (const Slice& slice : tile->slices()) {
        const auto w = slice.of<const float>("w");
        const auto& expected = trainer.twin.params[slice.tag].w;
        ASSERT_TRUE(std::equal(w.begin(), w.end(), expected.begin() + slice.offset));
      }
      tile->commit();
    }
  }
  EXPECT_EQ(trainer.hp.stats().bytes_written, 0);
  // A part of one, off every alignment.
  std::vector<float> part(1001);
  trainer.hp.read_state<float>(trainer.hp_ids[4], "w", 4095, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), trainer.twin.params[4].w.begin() + 4095));
  trainer.both(1);
  trainer.expect_equal("after a step");
}

// A checkpoint that is loaded makes the parameters' values needless: none is read.
TEST_P(FirstValuesTest, APassThatOnlyWritesReadsNothing) {
  Context context(test::mixed_config(GetParam(), scratch_.path()));
  MixedTrainer trainer(context, DType::bf16, sizes);
  trainer.empty_pool(512 * 1024);
  const std::int64_t before = trainer.lp.stats().bytes_fetched;
  for (auto& param : trainer.twin.params)
    for (float& w : param.w) w += 1;
  {
    spillway::Run run = trainer.hp.begin({.write = {"w"}});
    while (auto tile = run.next()) {
      const auto slices = tile->slices();
      for (const Slice& slice : slices) {
        if (slices.size() > 1 && &slice == &slices.back()) {  // left out, it would be garbage
          EXPECT_EQ(error_of([&] { tile->commit(); }), Errc::invalid_argument);
        }
        test::Trainer::copy(slice, "w", trainer.twin.params[slice.tag].w);
      }
      tile->commit();
    }
  }
  EXPECT_EQ(trainer.lp.stats().bytes_fetched, before);
  for (std::size_t i = 0; i < sizes.size(); ++i)
    EXPECT_EQ(test::read(trainer.hp, trainer.hp_ids[i], "w"), trainer.twin.params[i].w);
  trainer.both(1);
  trainer.expect_equal("after a step");
}

TEST_P(FirstValuesTest, APartThatIsWrittenLeavesTheRestAsTheParameterHasIt) {
  Context context(test::mixed_config(GetParam(), scratch_.path()));
  MixedTrainer trainer(context, DType::bf16, sizes);
  const std::vector<float> nines(5000, 9.0f);
  trainer.hp.write_state<float>(trainer.hp_ids[4], "w", 4000, nines);
  std::copy(nines.begin(), nines.end(), trainer.twin.params[4].w.begin() + 4000);
  // One of several in a tile: what the others hold is taken along.
  const std::vector<float> whole(64, 8.0f);
  trainer.hp.write_state<float>(trainer.hp_ids[6], "w", 0, whole);
  trainer.twin.params[6].w = whole;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    EXPECT_EQ(test::read(trainer.hp, trainer.hp_ids[i], "w"), trainer.twin.params[i].w) << i;
  trainer.both(1);
  trainer.expect_equal("after a step");
}

TEST_P(FirstValuesTest, APassOverOneParameterTakesItsNeighboursAlong) {
  Context context(test::mixed_config(GetParam(), scratch_.path()));
  MixedTrainer trainer(context, DType::bf16, {100, 200, 300, 9000});
  spillway::Run run = trainer.hp.begin({.step = 1, .only = {trainer.hp_ids[1]}});
  trainer.pull(run, 1);
  test::Twin::step(trainer.twin.params[1], 1);
  trainer.expect_equal("after a step of one");
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{3}})
    test::Twin::step(trainer.twin.params[i], 1);
  trainer.step(1);  // the rest of it
  trainer.expect_equal("after the step");
}

TEST_P(FirstValuesTest, ResetForgetsThem) {
  Context context(test::mixed_config(GetParam(), scratch_.path()));
  MixedTrainer trainer(context, DType::bf16, sizes);
  trainer.hp.reset("w", 3);
  const std::int64_t before = trainer.lp.stats().bytes_fetched;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    EXPECT_EQ(test::read(trainer.hp, trainer.hp_ids[i], "w"),
              std::vector<float>(static_cast<std::size_t>(sizes[i]), 3.0f));
  EXPECT_EQ(trainer.lp.stats().bytes_fetched, before);
  for (auto& param : trainer.twin.params) std::fill(param.w.begin(), param.w.end(), 3.0f);
  trainer.both(1);
  trainer.expect_equal("after a step");
}

// A tile that is dropped in the first step leaves the first values what they were, and the
// parameters too.
TEST_P(FirstValuesTest, ADroppedTileLeavesThemAsTheyWere) {
  Home home = GetParam();
  home.undo = !home.keeps_old();
  Context context(test::mixed_config(home, scratch_.path()));
  MixedTrainer trainer(context, DType::bf16, sizes, home.undo);
  {
    spillway::Run run = trainer.hp.begin_step(1);
    for (int n = 0; auto tile = run.next(); ++n) {
      trainer.update(*tile, 1);
      if (n == 2) break;
      tile->commit();
    }
  }
  trainer.both(1);
  trainer.expect_equal("after the step, begun twice");
}

TEST_P(FirstValuesTest, SeveralThreadsPullTiles) {
  Config config = test::mixed_config(GetParam(), scratch_.path());
  config.offload_optimizer.buffer_count = 4;
  Context context(config);
  MixedTrainer trainer(context, DType::bf16, {50000, 300, 70001, 9});
  trainer.empty_pool(512 * 1024);
  for (std::int64_t n = 1; n <= 2; ++n) {
    spillway::Run run = trainer.hp.begin_step(n);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) threads.emplace_back([&] { trainer.pull(run, n); });
    for (std::thread& thread : threads) thread.join();
    trainer.pull(run, n);
    trainer.twin.step(n);
  }
  trainer.expect_equal("after two steps");
}

// Hardly any memory on either side: a parameter pool of one block per lease, one or two tiles.
TEST_P(FirstValuesTest, LittleMemoryIsEnough) {
  for (const std::int64_t buffers : {1, 2}) {
    Home home = GetParam();
    home.pipeline_read = buffers > 1;
    home.pipeline_write = false;
    Config config = test::mixed_config(home, scratch_.path(), 1, 16 * 1024);
    config.offload_optimizer.buffer_count = buffers;
    config.offload_optimizer.buffer_size = 48 * 1024;  // 4096 elements, 8 KiB of them in 16 bits
    Context context(config);
    MixedTrainer trainer(context, DType::bf16, {30000, 4096, 5000});
    for (std::int64_t n = 1; n <= 2; ++n) trainer.both(n);
    trainer.expect_equal("after two steps");
    EXPECT_LE(trainer.lp.stats().peak_pool_bytes, 16 * 1024);
  }
}

TEST(FirstValuesMisuseTest, WhatCannotBeIsRefusedByName) {
  const test::Scratch scratch;
  Context context(test::mixed_config({}, scratch.path()));
  ParameterSwapper lp(context);
  OptimizerSwapper hp(context, {.states = {{"w"}, {"h", DType::bf16}, {"q", DType::f32, 256}}});
  const ParamId bf = lp.add("bf", 100, DType::bf16), full = lp.add("full", 100, DType::f32);
  std::string text;
  const auto refused = [&](ParamOptions options, const char* word, std::int64_t elements = 100) {
    EXPECT_EQ(error_of([&] { hp.add("it", elements, options); }, &text), Errc::invalid_argument);
    EXPECT_NE(text.find(word), std::string::npos) << text;
    EXPECT_NE(text.find("\"it\""), std::string::npos) << text;
  };
  const std::vector<std::byte> bytes(400);
  refused({.from = {{"w", nullptr, bf}}}, "no parameter swapper");
  refused({.from = {{"w", &lp, bf}}}, "101 are needed", 101);
  refused({.from = {{"h", &lp, full}}}, "f32");
  refused({.from = {{"q", &lp, full}}}, "256");
  refused({.from = {{"w", &lp, bf}, {"w", &lp, full}}}, "twice");
  refused({.init = {{"w", bytes}}, .from = {{"w", &lp, bf}}}, "init");
  EXPECT_EQ(error_of([&] {
              hp.add("it", 100, {.from = {{"x", &lp, bf}}});
            }),
            Errc::invalid_argument);
  EXPECT_EQ(error_of([&] {
              hp.add("it", 100, {.from = {{"w", &lp, ParamId{9}}}});
            }),
            Errc::invalid_argument);
  EXPECT_EQ(hp.stats().parameters, 0);
  hp.add("it", 100, {.from = {{"w", &lp, full}, {"h", &lp, bf}}});
}

// The parameters are gone before their values were taken: an error that says so, and a way on.
TEST(FirstValuesMisuseTest, AParameterThatIsGone) {
  const test::Scratch scratch;
  Context context(test::mixed_config({}, scratch.path()));
  OptimizerSwapper hp(context, {.states = {{"w"}}});
  auto lp = std::make_unique<ParameterSwapper>(context);
  const ParamId one = lp->add("one", 5000, DType::bf16), two = lp->add("two", 100, DType::bf16);
  const ParamId a = hp.add("a", 5000, {.from = {{"w", lp.get(), one}}});
  const ParamId b = hp.add("b", 100, {.from = {{"w", lp.get(), two}}});
  const auto touch = [](const Slice& slice) { slice.of<float>("w"); };
  lp->remove(one);
  std::string text;
  EXPECT_EQ(error_of([&] { hp.step(1, touch); }, &text), Errc::invalid_argument);
  for (const char* word : {"\"a\"", "\"one\"", "removed", "state \"w\""})
    EXPECT_NE(text.find(word), std::string::npos) << word << ": " << text;
  lp.reset();
  const auto gone = error_of([&] { hp.step(1, touch); }, &text);
  EXPECT_EQ(gone, Errc::invalid_argument);
  EXPECT_NE(text.find("destroyed"), std::string::npos) << text;
  const std::vector<float> w(5000, 2.0f);
  hp.reset("w", 1);
  hp.write_state<float>(a, "w", 0, w);
  hp.step(1, touch);
  EXPECT_EQ(test::read(hp, a, "w"), w);
  EXPECT_EQ(test::read(hp, b, "w"), std::vector<float>(100, 1.0f));
}

}  // namespace
}  // namespace spillway
