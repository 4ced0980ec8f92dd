#include "store/size_class.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/align.h"

namespace spillway::store {
namespace {

TEST(SizeClassTest, FullTilesAreExactAndTailsShare) {
  const std::vector<FootprintDemand> demands{
      {4 * MiB, 1000},  // full tiles
      {3 * MiB, 1},     // tails: 3.0, 2.9, 2.8 are within 1/8
      {2900 * KiB, 1}, {2800 * KiB, 1}, {100 * KiB, 1},
  };
  const auto sizes = choose_slot_sizes(demands, {}, 5);
  EXPECT_EQ(sizes.at(4 * MiB), 4 * MiB);
  EXPECT_EQ(sizes.at(3 * MiB), 3 * MiB) << "a quarter of padding is too much";
  EXPECT_EQ(sizes.at(2900 * KiB), 3 * MiB);
  EXPECT_EQ(sizes.at(2800 * KiB), 3 * MiB);
  EXPECT_EQ(sizes.at(100 * KiB), 100 * KiB);
}

TEST(SizeClassTest, PaddingNeverExceedsAnEighth) {
  std::vector<FootprintDemand> demands;
  for (std::int64_t pages = 1; pages < 600; ++pages) demands.push_back({pages * 4096, 1});
  for (const auto& [footprint, size] : choose_slot_sizes(demands, {}, 5)) {
    EXPECT_GE(size, footprint);
    EXPECT_LE(size - footprint, footprint / 8);
    if (footprint < 8 * 4096) {
      EXPECT_EQ(size, footprint);
    }
  }
}

TEST(SizeClassTest, ManyAlikeGetTheirOwnSizeOnceThatIsCheaper) {
  // 1/16 of padding each: 5 spares are worth 80 of them.
  const std::int64_t large = 17 * MiB, small = 16 * MiB;
  const std::vector<FootprintDemand> few{{large, 1000}, {small, 80}};
  EXPECT_EQ(choose_slot_sizes(few, {}, 5).at(small), large);
  const std::vector<FootprintDemand> many{{large, 1000}, {small, 81}};
  EXPECT_EQ(choose_slot_sizes(many, {}, 5).at(small), small);
}

TEST(SizeClassTest, SizesThatExistAreUsedFirst) {
  const std::vector<FootprintDemand> demands{{4 * MiB, 10}, {1020 * KiB, 2}};
  const auto sizes = choose_slot_sizes(demands, {4 * MiB, MiB}, 5);
  EXPECT_EQ(sizes.at(4 * MiB), 4 * MiB);
  EXPECT_EQ(sizes.at(1020 * KiB), MiB);
}

}  // namespace
}  // namespace spillway::store
