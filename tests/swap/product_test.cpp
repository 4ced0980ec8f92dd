// Every combination of device, flags, ratio, fast_init, engine and checksums gives the bits of the
// same optimizer in plain memory.

#include <gtest/gtest.h>

#include <tuple>

#include "support/swap_fixture.h"
#include "support/twin.h"

namespace spillway {
namespace {

struct Place {
  OffloadDevice device;
  double ratio;
  EngineChoice engine;
  bool checksums;
};

// Odd sizes on purpose: nothing, one, just over a cut, several tiles, and much that is small.
const std::vector<std::int64_t> sizes{1, 0, 4097, 4095, 30000, 7, 64, 8192, 100001};

class ProductTest
    : public ::testing::TestWithParam<std::tuple<Place, std::tuple<bool, bool>, bool>> {};

TEST_P(ProductTest, BitsEqualThoseOfPlainMemory) {
  const auto& [place, pipeline, fast_init] = GetParam();
  const test::Scratch scratch;
  Config config = test::small_config(place.device, scratch.path());
  config.offload_optimizer.pipeline_read = std::get<0>(pipeline);
  config.offload_optimizer.pipeline_write = std::get<1>(pipeline);
  config.offload_optimizer.fast_init = fast_init;
  config.offload_optimizer.ratio = place.ratio;
  config.io.engine = place.engine;
  config.io.checksums = place.checksums;
  {
    Context context(config);
    OptimizerSwapper swapper(context, {.states = {{"w"}, {"m"}, {"v"}}});
    test::Twin twin;
    std::vector<ParamId> ids;
    UnitId unit = default_unit;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (i == 4) unit = swapper.add_unit("second");
      twin.add(i + 1, sizes[i]);
      ids.push_back(swapper.add("p" + std::to_string(i), sizes[i], {.unit = unit, .tag = i + 1}));
    }
    auto load = swapper.begin({.write = {"w"}});
    while (auto tile = load.next()) {
      for (const Slice& slice : tile->slices()) {
        const auto& from = twin.params[slice.tag - 1].w;
        const auto to = slice.of<float>("w");
        std::copy_n(from.begin() + slice.offset, to.size(), to.begin());
      }
      tile->commit();
    }
    for (std::int64_t n = 1; n <= 3; ++n) {
      twin.step(n);
      swapper.step(n, [n](const Slice& slice) { test::update(slice, n); });
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      std::vector<float> got(static_cast<std::size_t>(sizes[i]), -1);
      swapper.read_state<float>(ids[i], "w", 0, got);
      EXPECT_EQ(got, twin.params[i].w) << "w of parameter " << i;
      swapper.read_state<float>(ids[i], "m", 0, got);
      EXPECT_EQ(got, twin.params[i].m) << "m of parameter " << i;
      swapper.read_state<float>(ids[i], "v", 0, got);
      EXPECT_EQ(got, twin.params[i].v) << "v of parameter " << i;
    }
    const OptimizerStats stats = swapper.stats();
    if (place.device == OffloadDevice::nvme && place.ratio > 0) {
      EXPECT_GT(stats.bytes_written, 0);
      EXPECT_GT(stats.bytes_read, 0);
      EXPECT_EQ(context.stats().engine,
                place.engine == EngineChoice::threads ? "threads" : context.stats().engine);
    } else {
      EXPECT_EQ(stats.bytes_written, 0);
      EXPECT_EQ(stats.resident_tiles, stats.tiles);
    }
  }
  EXPECT_TRUE(scratch.empty()) << "something was left in the path";
}

std::vector<Place> places() {
  std::vector<Place> all{{OffloadDevice::none, 1, EngineChoice::automatic, true},
                         {OffloadDevice::cpu, 1, EngineChoice::automatic, true},
                         {OffloadDevice::cpu, 0.37, EngineChoice::automatic, true}};
  for (double ratio : {0.0, 0.37, 1.0})
    for (EngineChoice engine : {EngineChoice::automatic, EngineChoice::threads})
      for (bool checksums : {true, false})
        all.push_back({OffloadDevice::nvme, ratio, engine, checksums});
  return all;
}

std::string name_of(const ::testing::TestParamInfo<ProductTest::ParamType>& info) {
  const auto& [place, pipeline, fast_init] = info.param;
  static constexpr const char* devices[] = {"none", "cpu", "nvme"};
  std::string name = devices[static_cast<int>(place.device)];
  name += "_ratio" + std::to_string(static_cast<int>(place.ratio * 100));
  name += place.engine == EngineChoice::threads ? "_threads" : "_auto";
  name += place.checksums ? "_sums" : "_trailers";
  name += std::get<0>(pipeline) ? "_read" : "";
  name += std::get<1>(pipeline) ? "_write" : "";
  name += fast_init ? "_fast" : "_slow";
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    All, ProductTest,
    ::testing::Combine(::testing::ValuesIn(places()),
                       ::testing::Values(std::tuple{false, false}, std::tuple{true, false},
                                         std::tuple{false, true}, std::tuple{true, true}),
                       ::testing::Bool()),
    name_of);

}  // namespace
}  // namespace spillway
