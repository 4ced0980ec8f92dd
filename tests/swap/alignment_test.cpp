// A disk with blocks larger than a page: all that is moved lies on them in memory as well, whatever
// the sizes of buffers and parameters.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/align.h"
#include "support/page_memory.h"
#include "swap/contents.h"
#include "swap/fake_house.h"
#include "swap/parameter_fixture.h"

namespace spillway::test {
namespace {

constexpr std::int64_t block = 64 * KiB;

struct CoarseDisk {
  Scratch scratch;
  std::shared_ptr<io::FakeDevice> device = std::make_shared<io::FakeDevice>(8 * MiB);

  Context context(Config config) {
    config.offload_optimizer.nvme_path = {scratch.path()};  // the house opens its store there
    return context_in(std::make_shared<FakeHouse>(std::move(config), device, block));
  }
};

TEST(CoarseDiskTest, TilesLieOnItsBlocks) {
  CoarseDisk disk;
  // Sections of 64 KiB, and a rest.
  Context context = disk.context(config_for({}, disk.scratch.path(), 3 * block + 20 * KiB));
  Trainer trainer(context, {40'000, 5000}, false, 1);
  trainer.load();
  for (std::int64_t n = 1; n <= 2; ++n) {
    trainer.step(n);
    trainer.twin.step(n);
  }
  trainer.expect_equal("after two steps");
  EXPECT_EQ(trainer.swapper.stats().tile_bytes, 3 * block);
}

class CoarseDiskParameterTest : public ::testing::TestWithParam<std::int64_t> {};

INSTANTIATE_TEST_SUITE_P(Caps, CoarseDiskParameterTest, ::testing::Values(0, 50'000),
                         [](const auto& one) { return "cap" + std::to_string(one.param); });

TEST_P(CoarseDiskParameterTest, CopiesLieOnItsBlocks) {
  CoarseDisk disk;
  Context context = disk.context(
      parameter_config(OffloadDevice::nvme, disk.scratch.path(), 4, block + 20 * KiB, GetParam()));
  ParameterSwapper swapper(context, {.name = "weights"});
  const std::vector<std::int64_t> sizes{20'000, 40'000, 3, 30'000};
  std::vector<ParamId> ids;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    ids.push_back(swapper.add("w" + std::to_string(i), sizes[i], DType::f32, {.tag = i}));
    put(swapper, ids[i], i, 1);
  }
  swapper.flush();
  for (int pass = 0; pass < 2; ++pass)
    for (std::size_t i = 0; i < sizes.size(); ++i)
      EXPECT_EQ(copy_of(swapper.fetch(ids[i])), values(i, 0, sizes[i], 1)) << "w" << i;
  {
    const Lease first = swapper.fetch(ids[2]), second = swapper.fetch(ids[0]);
    EXPECT_EQ(copy_of(first), values(2, 0, sizes[2], 1));
    EXPECT_EQ(copy_of(second), values(0, 0, sizes[0], 1));
  }
  // Into memory that lies on a page and on no block.
  PageMemory memory(sizes[1] * 4 + block);
  const auto begin = reinterpret_cast<std::intptr_t>(memory.data());
  std::byte* const odd = memory.data() + (begin % block == 0 ? page_bytes : 0);
  const std::span<float> to(reinterpret_cast<float*>(odd), static_cast<std::size_t>(sizes[1]));
  swapper.read_into<float>(ids[1], to).wait();
  EXPECT_EQ(std::vector<float>(to.begin(), to.end()), values(1, 0, sizes[1], 1));
}

}  // namespace
}  // namespace spillway::test
