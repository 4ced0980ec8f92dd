// Weeks of steps: no heap allocation per tile, no growth of descriptors or of memory.

#include <gtest/gtest.h>

#include <fstream>

#include "swap/contents.h"
#include "swap/counted_new.h"

namespace spillway {
namespace {

using test::Home;
using test::Trainer;

struct Way {
  Home home;
  EngineChoice engine = EngineChoice::automatic;
  bool checksums = true;
};

class SteadyTest : public ::testing::TestWithParam<Way> {
 protected:
  Config config() const {
    Config config = test::config_for(GetParam().home, scratch_.path());
    config.io.engine = GetParam().engine;
    config.io.checksums = GetParam().checksums;
    if (!config.io.checksums) *config.offload_optimizer.buffer_size += 3 * 4096;
    config.io.block_size = 8192;  // several requests for one section
    return config;
  }
  test::Scratch scratch_;
};

TEST_P(SteadyTest, NoAllocationPerTile) {
  Context context(config());
  // A unit of 8 tiles and one of 64; the passes over them differ in nothing else.
  Trainer trainer(context, {8 * 4096, 64 * 4096}, false, 1);
  std::int64_t step = 0;
  const auto allocated_by = [&](UnitId unit) {
    Pass pass;
    pass.units = {unit};
    std::int64_t before = 0, tiles = 0;
    {
      auto run = trainer.swapper.begin(pass);
      before = test::allocations();
      while (auto tile = run.next()) {
        for (const Slice& slice : tile->slices()) {
          std::ignore = run.upcoming();
          slice.of<float>("w")[0] = static_cast<float>(step);
          slice.of<float>("m")[0] = slice.of<float>("v")[0] = 1;
        }
        tile->commit();
        ++tiles;
      }
      EXPECT_FALSE(run.next());
    }
    EXPECT_EQ(tiles, unit == trainer.units[0] ? 8 : 64);
    return test::allocations() - before;
  };
  for (UnitId unit : trainer.units) allocated_by(unit);  // everything has its size now
  ASSERT_GT(test::allocations(), 0) << "nothing is counted";
  for (; step < 4; ++step) {
    const std::int64_t few = allocated_by(trainer.units[0]);
    const std::int64_t many = allocated_by(trainer.units[1]);
    EXPECT_EQ(few, 0) << "in a run over 8 tiles";
    EXPECT_EQ(many, 0) << "in a run over 64 tiles";
  }
}

// Sanitizers keep freed memory and shadows of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

std::int64_t descriptors() {
  std::int64_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

std::int64_t resident_bytes() {
  std::int64_t pages = 0, ignored = 0;
  std::ifstream("/proc/self/statm") >> ignored >> pages;
  return pages * 4096;
}

TEST_P(SteadyTest, AThousandStepsLeaveNothingBehind) {
  Context context(config());
  OptimizerSwapper swapper(context, {.states = {{"w"}, {"m"}}});
  for (int i = 0; i < 4; ++i) swapper.add("p" + std::to_string(i), 3000 * i);
  const auto step = [&](std::int64_t n) {
    swapper.step(n, [](const Slice& slice) { slice.of<float>("w")[0] += 1; });
    float first = 0;
    swapper.read_state<float>(ParamId{1}, "w", 0, std::span(&first, 1));
    EXPECT_EQ(first, static_cast<float>(n));
  };
  std::int64_t n = 0;
  while (n < 50) step(++n);
  const std::int64_t files = descriptors(), memory = resident_bytes(), blocks = test::live_blocks();
  const std::int64_t disk =
      context.stats().paths.empty() ? 0 : context.stats().paths[0].allocated_bytes;
  while (n < 1050) step(++n);
  EXPECT_EQ(descriptors(), files);
  EXPECT_EQ(test::live_blocks(), blocks);
  if (!sanitized) {
    EXPECT_LT(resident_bytes() - memory, 512 * 1024) << "grown over a thousand steps";
  }
  if (!context.stats().paths.empty()) {
    EXPECT_EQ(context.stats().paths[0].allocated_bytes, disk);
  }
}

std::vector<Way> ways() {
  return {{.home = {.ratio = 1}},
          {.home = {.ratio = 1}, .engine = EngineChoice::threads},
          {.home = {.ratio = 1}, .checksums = false},
          {.home = {.ratio = 1, .pipeline_read = false, .pipeline_write = false}},
          {.home = {.ratio = 0.5}},
          {.home = {.device = OffloadDevice::cpu, .undo = true}}};
}

std::string way_name(const ::testing::TestParamInfo<Way>& info) {
  return describe(info.param.home) +
         (info.param.engine == EngineChoice::threads ? "_threads" : "") +
         (info.param.checksums ? "" : "_trailers");
}

INSTANTIATE_TEST_SUITE_P(All, SteadyTest, ::testing::ValuesIn(ways()), way_name);

}  // namespace
}  // namespace spillway
