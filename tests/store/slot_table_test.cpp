#include "store/slot_table.h"

#include <gtest/gtest.h>

#include <vector>

namespace spillway::store {
namespace {

SlotTable table_of(int slots) {
  SlotTable table(1);
  for (int i = 0; i < slots; ++i) table.add(0, 0, std::vector<std::int64_t>{i * 100});
  return table;
}

TEST(SlotTableTest, RunsOverTheFileFromFrontToBack) {
  SlotTable table = table_of(3);
  const SlotId a = *table.take(0);
  EXPECT_EQ(table.offset(a, 0), 0);
  EXPECT_EQ(table.offset(*table.take(0), 0), 100);
  table.give_back(a);
  EXPECT_EQ(table.offset(*table.take(0), 0), 200) << "what was given back last comes last";
  EXPECT_EQ(*table.take(0), a);
  EXPECT_EQ(table.take(0), std::nullopt);
  EXPECT_EQ(table.count(0), 3);
  EXPECT_EQ(table.free(0), 0);
}

TEST(SlotTableTest, WhatIsReadIsNotUsedAgainUntilTheReadsEnd) {
  SlotTable table = table_of(1);
  const SlotId slot = *table.take(0);
  table.pin(slot);
  table.pin(slot);
  table.give_back(slot);
  EXPECT_EQ(table.take(0), std::nullopt);
  table.unpin(slot);
  EXPECT_EQ(table.take(0), std::nullopt);
  table.unpin(slot);
  EXPECT_EQ(table.take(0), slot);
}

TEST(SlotTableTest, RemovesTheFurthestAndKeepsTheOrderOfTheRest) {
  SlotTable table = table_of(5);
  const SlotId first = *table.take(0);
  table.give_back(first);  // order now: 100 200 300 400 0
  const auto removed = table.remove(0, 2);
  ASSERT_EQ(removed.size(), 2u);
  EXPECT_EQ(table.offset(removed[0], 0), 400);
  EXPECT_EQ(table.offset(removed[1], 0), 300);
  EXPECT_EQ(table.count(0), 3);
  EXPECT_EQ(table.offset(*table.take(0), 0), 100);
  EXPECT_EQ(table.offset(*table.take(0), 0), 200);
  EXPECT_EQ(table.offset(*table.take(0), 0), 0);
}

TEST(SlotTableTest, ALongListIsCutFromItsFront) {
  SlotTable table = table_of(1000);
  EXPECT_EQ(table.offset(table.remove(0, 1)[0], 0), 63 * 100);
  EXPECT_EQ(table.remove(0, 100).size(), 100u);
  EXPECT_EQ(table.free(0), 899);
  std::int64_t before = -1;
  int left = 0;
  while (const auto slot = table.take(0)) {
    EXPECT_GT(table.offset(*slot, 0), before) << "still in order";
    before = table.offset(*slot, 0);
    ++left;
  }
  EXPECT_EQ(left, 899);
  EXPECT_EQ(before, 999 * 100);
}

// One by one, as many as a store of a few hundred GB has: nothing here may be quadratic.
TEST(SlotTableTest, RemovingManyOneByOne) {
  SlotTable table = table_of(50'000);
  for (int i = 0; i < 50'000; ++i) ASSERT_EQ(table.remove(0, 1).size(), 1u);
  EXPECT_EQ(table.count(0), 0);
  EXPECT_EQ(table.take(0), std::nullopt);
  table.add(0, 0, std::vector<std::int64_t>{7});
  EXPECT_EQ(table.offset(*table.take(0), 0), 7);
}

TEST(SlotTableTest, RemovesOnlyWhatIsFree) {
  SlotTable table = table_of(2);
  ASSERT_TRUE(table.take(0));
  EXPECT_EQ(table.remove(0, 5).size(), 1u);
  EXPECT_EQ(table.count(0), 1);
}

TEST(SlotTableTest, ClassesAreApart) {
  SlotTable table(2);
  table.add(0, 1, std::vector<std::int64_t>{1, 2});
  const SlotId other = table.add(3, 2, std::vector<std::int64_t>{3, 4});
  EXPECT_EQ(table.take(1), std::nullopt);
  EXPECT_EQ(table.take(3), other);
  EXPECT_EQ(table.offset(other, 0), 3);
  EXPECT_EQ(table.offset(other, 1), 4);
  EXPECT_EQ(table.rotation(other), 2);
  EXPECT_EQ(table.size_class(other), 3u);
}

TEST(SlotTableDeathTest, RightsAreGivenBackOnce) {
  SlotTable table = table_of(1);
  const SlotId slot = *table.take(0);
  table.give_back(slot);
  EXPECT_DEATH(table.give_back(slot), "only a taken slot");
  EXPECT_DEATH(table.pin(slot), "only a slot that holds");
  EXPECT_DEATH(table.unpin(slot), "a pin is taken off once");
}

}  // namespace
}  // namespace spillway::store
