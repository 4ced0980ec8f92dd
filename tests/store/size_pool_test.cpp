#include "store/size_pool.h"

#include <gtest/gtest.h>

namespace spillway::store {
namespace {

SizePool::Part part(int owner, std::int64_t sections, std::int64_t tiles, std::int64_t per_tile,
                    std::int64_t writable) {
  return {owner, sections, tiles, per_tile, writable};
}

TEST(SizePoolTest, SparesForTheTilesThatCanBeBetweenOldAndNew) {
  SizePool pool(4096);
  EXPECT_EQ(pool.slots_with(part(0, 300, 100, 3, 5)), 315);
  pool.add(part(0, 300, 100, 3, 5));
  EXPECT_EQ(pool.slots(), 315);
}

TEST(SizePoolTest, NoMoreSparesThanSectionsAndOneThatIsRead) {
  SizePool pool(4096);
  pool.add(part(0, 3, 1, 3, 5));
  EXPECT_EQ(pool.slots(), 3 + 4);
  SizePool uneven(4096);
  uneven.add(part(0, 4, 2, 3, 5));  // one tile has 3 of this size, the other 1
  EXPECT_EQ(uneven.slots(), 4 + 5);
  SizePool alone(4096);
  alone.add(part(0, 3, 1, 3, 1));
  EXPECT_EQ(alone.slots(), 3 + 3) << "nobody but the one tile was announced";
}

TEST(SizePoolTest, ReservationsOfAnOwnerShareAndOwnersDoNot) {
  SizePool pool(4096);
  pool.add(part(0, 30, 10, 3, 5));
  EXPECT_EQ(pool.slots_with(part(0, 30, 10, 3, 5)), 60 + 15);
  EXPECT_EQ(pool.slots_with(part(1, 30, 10, 3, 5)), 60 + 30);
  pool.add(part(0, 30, 10, 3, 7));
  EXPECT_EQ(pool.slots(), 60 + 21);
}

TEST(SizePoolTest, ShrinksToWhatIsLeft) {
  SizePool pool(4096);
  const auto first = part(0, 30, 10, 3, 5);
  const auto second = part(0, 8, 4, 2, 9);
  pool.add(first);
  pool.add(second);
  EXPECT_EQ(pool.slots(), 38 + 3 * 9);
  pool.shrink(second, part(0, 0, 0, 2, 9));
  EXPECT_EQ(pool.slots(), 30 + 3 * 5);
  pool.shrink(first, part(0, 6, 2, 3, 5));
  EXPECT_EQ(pool.slots(), 6 + 7);
  pool.shrink(part(0, 6, 2, 3, 5), part(0, 0, 0, 3, 5));
  EXPECT_EQ(pool.slots(), 0);
  EXPECT_TRUE(pool.empty());
}

}  // namespace
}  // namespace spillway::store
