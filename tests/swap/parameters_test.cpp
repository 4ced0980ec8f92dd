// add, remove, init, adopt, and the sizes that are easily got wrong.

#include <gtest/gtest.h>

#include <numeric>

#include "support/hog.h"
#include "support/loop_mount.h"
#include "swap/contents.h"
#include "swap/counted_new.h"

namespace spillway {
namespace {

using test::error_of;
using test::Home;
using test::Trainer;

std::vector<float> counting(std::int64_t count, float from = 0) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), from);
  return values;
}

class ParametersTest : public ::testing::TestWithParam<Home> {
 protected:
  test::Scratch scratch_;
  Context context_{test::config_for(GetParam(), scratch_.path())};
};

TEST_P(ParametersTest, OddSizes) {
  for (std::int64_t elements : {0, 1, 63, 64, 4095, 4096, 4097, 8192, 100000}) {
    SCOPED_TRACE(elements);
    Trainer trainer(context_, {elements});
    trainer.load();
    for (std::int64_t n = 1; n <= 2; ++n) {
      trainer.step(n);
      trainer.twin.step(n);
    }
    trainer.expect_equal("after two steps");
  }
}

TEST_P(ParametersTest, InitGivesTheFirstValues) {
  OptimizerSwapper swapper(context_, {.states = {{"w"}, {"q", DType::u8, 256, 9}}});
  const std::vector<float> w = counting(10000, 5);
  const std::vector<std::uint8_t> q(40, 77);
  ParamOptions options;
  options.init = {{"w", std::as_bytes(std::span(w))}, {"q", std::as_bytes(std::span(q))}};
  const ParamId a = swapper.add("a", 10000, options);
  const ParamId b = swapper.add("b", 10000);
  options.init = {{"w", std::as_bytes(std::span(w).first(9999))}};
  EXPECT_EQ(error_of([&] { swapper.add("short", 10000, options); }), Errc::invalid_argument);
  options.init = {{"x", {}}};
  EXPECT_EQ(error_of([&] { swapper.add("no such state", 0, options); }), Errc::invalid_argument);
  EXPECT_EQ(swapper.stats().parameters, 2);
  EXPECT_EQ(test::read(swapper, a, "w"), w);
  EXPECT_EQ(test::read(swapper, b, "w"), std::vector<float>(10000, 0.0f));
  std::vector<std::uint8_t> got(40);
  swapper.read_state<std::uint8_t>(a, "q", 0, got);
  EXPECT_EQ(got, q);
  swapper.read_state<std::uint8_t>(b, "q", 0, got);
  EXPECT_EQ(got, std::vector<std::uint8_t>(40, 9));
}

TEST_P(ParametersTest, WholeParametersAreNeverCut) {
  OptimizerSwapper swapper(context_, {.states = {{"w"}, {"m"}, {"v"}}, .whole_parameters = true});
  std::vector<std::int64_t> sizes{4000, 90, 4096, 1, 2000, 2000, 3};
  for (std::size_t i = 0; i < sizes.size(); ++i) swapper.add("p" + std::to_string(i), sizes[i]);
  std::string text;
  EXPECT_EQ(error_of([&] { swapper.add("large", 4097); }, &text), Errc::does_not_fit);
  EXPECT_NE(text.find("tile_bytes"), std::string::npos) << text;
  std::size_t seen = 0;
  swapper.step(1, [&](const Slice& slice) {
    EXPECT_EQ(slice.offset, 0);
    EXPECT_EQ(slice.count, sizes[static_cast<std::size_t>(slice.param)]);
    ++seen;
  });
  EXPECT_EQ(seen, sizes.size());
}

// A run of weeks that swaps adapters in and out: space comes back, on disk and in memory.
TEST_P(ParametersTest, AHundredRoundsOfAddAndRemoveTakeNoMoreSpace) {
  Trainer trainer(context_, {12000, 5});
  trainer.load();
  std::int64_t disk = 0, memory = 0;
  for (int round = 0; round < 100; ++round) {
    const std::vector<float> first = counting(9000, static_cast<float>(round));
    const ParamId one = trainer.swapper.add("one", 9000);
    const ParamId two = trainer.swapper.add("two", 300);
    EXPECT_EQ(test::read(trainer.swapper, one, "w"), std::vector<float>(9000, 0.0f))
        << "round " << round << ": what was removed shines through";
    trainer.swapper.write_state<float>(one, "w", 0, first);
    trainer.swapper.write_state<float>(two, "m", 0, std::span(first).first(300));
    EXPECT_EQ(test::read(trainer.swapper, one, "w"), first);
    const std::int64_t disk_now =
        context_.stats().paths.empty() ? 0 : context_.stats().paths[0].allocated_bytes;
    const std::int64_t memory_now = trainer.swapper.stats().memory.resident_share_bytes;
    if (round == 1) disk = disk_now, memory = memory_now;
    if (round > 1) {
      EXPECT_LE(disk_now, disk) << "round " << round;
      EXPECT_LE(memory_now, memory) << "round " << round;
    }
    trainer.swapper.remove(one);
    trainer.swapper.remove(two);
    EXPECT_EQ(error_of([&] { trainer.swapper.name(one); }), Errc::invalid_argument);
  }
  trainer.step(1);
  trainer.twin.step(1);
  trainer.expect_equal("those that stayed");
}

TEST_P(ParametersTest, RemovingOneOfATileKeepsTheOthers) {
  Trainer trainer(context_, {100, 200, 300, 5000});
  trainer.load();
  trainer.swapper.remove(trainer.ids[1]);
  trainer.swapper.step(1, [](const Slice& slice) {
    EXPECT_NE(slice.tag, 2u);
    test::update(slice, 1);
  });
  for (std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{3}}) {
    test::Twin::step(trainer.twin.params[i], 1);
    EXPECT_EQ(test::read(trainer.swapper, trainer.ids[i], "w"), trainer.twin.params[i].w);
  }
  EXPECT_EQ(trainer.swapper.stats().parameters, 3);
}

TEST_P(ParametersTest, AddBetweenStepsIsPartOfTheNext) {
  Trainer trainer(context_, {9000, 3});
  trainer.load();
  for (std::int64_t n = 1; n <= 6; ++n) {
    trainer.step(n);
    trainer.twin.step(n);
    const auto tag = trainer.ids.size() + 1;
    const std::int64_t elements = n * 1700;
    trainer.twin.add(tag, elements);
    trainer.ids.push_back(trainer.swapper.add("later", elements, {.tag = tag}));
    trainer.swapper.write_state<float>(trainer.ids.back(), "w", 0,
                                       std::span<const float>(trainer.twin.params.back().w));
  }
  trainer.expect_equal("after six steps");
}

// Refused before anything is made of it, be it beyond what ids count or beyond the memory that the
// records of its tiles would take.
TEST_P(ParametersTest, AMistypedSizeIsAnErrorAndTakesNoMemory) {
  Trainer trainer(context_, {100});
  const std::int64_t before = test::allocations();
  std::string text;
  EXPECT_EQ(error_of([&] { trainer.swapper.add("mistyped", std::int64_t{1} << 52); }, &text),
            Errc::invalid_argument);
  EXPECT_NE(text.find("\"mistyped\""), std::string::npos) << text;
  constexpr std::int64_t most = std::int64_t{UINT32_MAX} * 4096 - 1;  // tiles of 4096
  EXPECT_EQ(error_of([&] { trainer.swapper.add("mistyped", most); }, &text), Errc::does_not_fit);
  EXPECT_NE(text.find("\"mistyped\""), std::string::npos) << text;
  EXPECT_LT(test::allocations(), before + 1000);
  trainer.load();
  trainer.expect_equal("after the refusals");
}

INSTANTIATE_TEST_SUITE_P(All, ParametersTest, ::testing::ValuesIn(test::homes()), test::home_name);

// ---- adopted memory: devices none and cpu

class AdoptTest : public ::testing::TestWithParam<Home> {};

TEST_P(AdoptTest, TheEnginesOwnMemoryIsUsedInPlace) {
  test::Scratch scratch;
  Context context(test::config_for(GetParam(), scratch.path()));
  OptimizerSwapper swapper(context, {.states = {{"w"}, {"m"}}, .undo = GetParam().undo});
  std::vector<float> w = counting(10000), all = counting(50, 7), none;
  std::vector<float> all_m = counting(50, 9);
  ParamOptions options;
  options.adopt = {{"w", std::as_writable_bytes(std::span(w))}};
  const ParamId a = swapper.add("a", 10000, options);
  options.adopt = {{"w", std::as_writable_bytes(std::span(all))},
                   {"m", std::as_writable_bytes(std::span(all_m))}};
  const ParamId b = swapper.add("b", 50, options);
  options.adopt = {{"w", std::as_writable_bytes(std::span(w).first(9999))}};
  EXPECT_EQ(error_of([&] { swapper.add("short", 10000, options); }), Errc::invalid_argument);
  options.adopt = {{"x", {}}};
  EXPECT_EQ(error_of([&] { swapper.add("no such state", 0, options); }), Errc::invalid_argument);

  EXPECT_EQ(test::read(swapper, a, "w"), w) << "it holds what it held";
  swapper.step(1, [&](const Slice& slice) {
    const auto values = slice.of<float>("w");
    EXPECT_EQ(values.data(), (slice.param == a ? w : all).data() + slice.offset);
    for (float& value : values) value += 1;
    for (float& value : slice.of<float>("m")) value += 2;
  });
  EXPECT_EQ(w, counting(10000, 1));
  EXPECT_EQ(all, counting(50, 8));
  EXPECT_EQ(all_m, counting(50, 11));
  EXPECT_EQ(test::read(swapper, b, "m"), all_m);
  EXPECT_EQ(test::read(swapper, a, "m"), std::vector<float>(10000, 2.0f));
  {
    auto run = swapper.begin_step(2);
    auto tile = run.next();
    tile->slices()[0].of<float>("w")[0] = 99;
  }
  EXPECT_EQ(w[0], GetParam().undo ? 1.0f : 99.0f);
  swapper.reset("w", 4);
  EXPECT_EQ(w, std::vector<float>(10000, 4.0f));
  swapper.remove(a);
  swapper.remove(b);
  EXPECT_EQ(w[5], 4.0f) << "removed parameters leave the engine's memory alone";
  options.adopt = {{"w", {}}, {"m", {}}};
  swapper.add("empty", 0, options);
  swapper.step(3, [](const Slice&) { FAIL(); });
}

// The engine may have freed the memory of a removed parameter, though its tile lives on.
TEST_P(AdoptTest, ResetLeavesTheMemoryOfRemovedParametersAlone) {
  test::Scratch scratch;
  Context context(test::config_for(GetParam(), scratch.path()));
  OptimizerSwapper swapper(context, {.states = {{"m"}}, .undo = GetParam().undo});
  std::vector<float> gone = counting(50), kept = counting(60);
  ParamOptions options;
  options.adopt = {{"m", std::as_writable_bytes(std::span(gone))}};
  const ParamId a = swapper.add("a", 50, options);
  options.adopt = {{"m", std::as_writable_bytes(std::span(kept))}};
  swapper.add("b", 60, options);
  swapper.step(1, [](const Slice&) {});
  swapper.remove(a);
  swapper.reset("m", 3);
  EXPECT_EQ(gone, counting(50));
  EXPECT_EQ(kept, std::vector<float>(60, 3));
}

INSTANTIATE_TEST_SUITE_P(All, AdoptTest,
                         ::testing::Values(Home{.device = OffloadDevice::none},
                                           Home{.device = OffloadDevice::cpu},
                                           Home{.device = OffloadDevice::cpu, .undo = true}),
                         test::home_name);

TEST(AdoptOnStoreTest, NvmeCannotAdopt) {
  test::Scratch scratch;
  Context context(test::config_for({}, scratch.path()));
  OptimizerSwapper swapper(context, {.states = {{"w"}}});
  std::vector<float> w(10);
  ParamOptions options;
  options.adopt = {{"w", std::as_writable_bytes(std::span(w))}};
  EXPECT_EQ(error_of([&] { swapper.add("a", 10, options); }), Errc::invalid_argument);
}

// ---- a full disk

TEST(FullDiskSystemTest, AddSaysWhatDoesNotFitAndNothingHasChanged) {
  const LoopMount mount("tmpfs", 1024 * 1024);
  if (!mount.mounted()) GTEST_SKIP() << mount.reason();
  {
    Context context(test::config_for({}, mount.path()));
    OptimizerSwapper swapper(context, {.states = {{"w"}, {"m"}, {"v"}}});
    const ParamId small = swapper.add("small", 4096);
    const std::vector<float> w = counting(4096);
    const std::int64_t before = context.stats().paths[0].allocated_bytes;
    std::string text;
    EXPECT_EQ(error_of([&] { swapper.add("h.11.mlp.c_proj.weight", 1 << 20); }, &text),
              Errc::no_space);
    for (const std::string& word : {std::string("h.11.mlp.c_proj.weight"), mount.path().string()})
      EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
    EXPECT_EQ(context.stats().paths[0].allocated_bytes, before);
    EXPECT_EQ(swapper.stats().parameters, 1);
    EXPECT_EQ(swapper.stats().tiles, 1);
    // It goes on with what fits.
    swapper.write_state<float>(small, "w", 0, std::span<const float>(w));
    swapper.step(1, [](const Slice& slice) { slice.of<float>("m")[0] = 3; });
    EXPECT_EQ(test::read(swapper, small, "w"), w);
    EXPECT_EQ(error_of([&] { swapper.add("again", 1 << 20); }), Errc::no_space);
    swapper.remove(small);
    const ParamId other = swapper.add("other", 4096);
    EXPECT_EQ(test::read(swapper, other, "w"), std::vector<float>(4096, 0.0f));
  }
  EXPECT_TRUE(std::filesystem::is_empty(mount.path()));
}

// The last tile of a unit is reserved larger than it is, and exactly only before its first use.
// Where the disk has filled up meanwhile the larger one serves, and its sections do not touch each
// other.
TEST(FullDiskSystemTest, ATailThatCannotShrinkIsUsedAsItIs) {
  for (const bool checksums : {false, true}) {
    SCOPED_TRACE(checksums ? "checksums" : "trailers");
    const LoopMount mount("tmpfs", 16 * 1024 * 1024);
    if (!mount.mounted()) GTEST_SKIP() << mount.reason();
    Config config = test::config_for({}, mount.path(), 128 * 1024);
    config.io.checksums = checksums;
    Context context(config);
    Trainer trainer(context, {5000});
    const std::int64_t reserved = context.stats().paths[0].allocated_bytes;
    const Hog hog(mount.path());
    trainer.load();
    EXPECT_EQ(context.stats().paths[0].allocated_bytes, reserved) << "there was room after all";
    trainer.step(1);
    trainer.twin.step(1);
    trainer.expect_equal("after a step");
    const std::vector<float> m(5000, 0.5f);
    trainer.swapper.write_state<float>(trainer.ids[0], "m", 0, m);
    trainer.twin.params[0].m = m;
    trainer.step(2);
    trainer.twin.step(2);
    trainer.expect_equal("after one of its states was written");
  }
}

}  // namespace
}  // namespace spillway
