#include "swap/layout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/align.h"
#include "swap/table.h"

namespace spillway::swap {
namespace {

std::int64_t pages(std::int64_t bytes) { return align_up(bytes, page_bytes); }
std::int64_t with_trailer(std::int64_t bytes) { return pages(bytes) + page_bytes; }

std::vector<State> adam() { return {{"master"}, {"exp_avg"}, {"exp_avg_sq"}}; }

TEST(LayoutTest, FillsATileWithWholeCuts) {
  const Layout layout(adam(), 4 * MiB, pages);
  EXPECT_EQ(layout.tile_elements(), 348160);  // floor(4 MiB / 12), down to a multiple of 4096
  EXPECT_EQ(layout.capacity(0), 348160 * 4);
}

TEST(LayoutTest, LeavesRoomForTrailers) {
  const Layout layout(adam(), 12 * 16 * KiB, with_trailer);
  EXPECT_EQ(layout.tile_elements(), 3 * 4096);
}

TEST(LayoutTest, MixedStatesCutWhereEveryValueIsWhole) {
  // 8-bit Adam: two bytes per element and an absmax per 2048; cuts stay multiples of both.
  const Layout layout({{"m", DType::u8}, {"v", DType::u8}, {"absmax", DType::f32, 12288}}, 1 * MiB,
                      pages);
  EXPECT_EQ(layout.cut(), 12288);
  EXPECT_EQ(layout.tile_elements() % 12288, 0);
  EXPECT_EQ(layout.bytes(2, 12289), 8);
  EXPECT_LE(pages(layout.capacity(0)) * 2 + pages(layout.capacity(2)), 1 * MiB);
}

TEST(LayoutTest, RoomIsEverythingOrWholeCutsOrNothing) {
  const Layout layout({{"w"}}, 64 * KiB, pages);  // 16384 elements
  std::vector<std::int64_t> used{0};
  EXPECT_EQ(layout.room(used, 16384), 16384);
  EXPECT_EQ(layout.room(used, 16385), 16384);
  EXPECT_EQ(layout.room(used, 1), 1);
  layout.advance(used, 1);
  EXPECT_EQ(used[0], 64);
  EXPECT_EQ(layout.room(used, 16384), 12288);
  EXPECT_EQ(layout.room(used, 16384 - 16), 16384 - 16);
  layout.advance(used, 16384 - 16);
  EXPECT_EQ(layout.room(used, 1), 0);
}

TEST(LayoutTest, RefusesWhatCannotWork) {
  const auto code = [](std::vector<State> states, std::int64_t bytes) {
    try {
      Layout(std::move(states), bytes, pages);
    } catch (const Error& error) {
      return to_string(error.code());
    }
    return std::string_view("fine");
  };
  EXPECT_EQ(code({}, MiB), "invalid_argument");
  EXPECT_EQ(code({{"w"}, {"w"}}, MiB), "invalid_argument");
  EXPECT_EQ(code({{""}}, MiB), "invalid_argument");
  EXPECT_EQ(code({{"w", DType::f32, 0}}, MiB), "invalid_argument");
  EXPECT_EQ(code({{"w", DType::i8, 1, 128}}, MiB), "invalid_argument");
  EXPECT_EQ(code({{"w", DType::u8, 1, 0.5}}, MiB), "invalid_argument");
  EXPECT_EQ(code(adam(), 48 * KiB - 1), "invalid_argument");
  EXPECT_EQ(code(adam(), 48 * KiB), "fine");
  EXPECT_EQ(code(adam(), INT64_MAX), "invalid_argument");
}

TEST(LayoutTest, ConstantsAreTheDtypesOwn) {
  std::array<std::byte, 4> at{};
  fill_constant(at, DType::f32, 1.5);
  float f = 0;
  std::memcpy(&f, at.data(), 4);
  EXPECT_EQ(f, 1.5f);
  const auto half = [&](DType dtype, double value) {
    fill_constant({at.data(), 2}, dtype, value);
    std::uint16_t bits = 0;
    std::memcpy(&bits, at.data(), 2);
    return bits;
  };
  EXPECT_EQ(half(DType::bf16, 1.0), 0x3f80);
  EXPECT_EQ(half(DType::bf16, 1.00390625), 0x3f80);  // tie: to even
  EXPECT_EQ(half(DType::bf16, 1.01171875), 0x3f82);  // tie: to even, up
  EXPECT_EQ(half(DType::f16, 1.0), 0x3c00);
  EXPECT_EQ(half(DType::f16, -2.0), 0xc000);
  EXPECT_EQ(half(DType::f16, 65504), 0x7bff);
  EXPECT_EQ(half(DType::f16, 65520), 0x7c00);
  EXPECT_EQ(half(DType::f16, 0x1p-24), 0x0001);
  EXPECT_EQ(half(DType::f16, 0x1p-14), 0x0400);
  EXPECT_EQ(half(DType::f16, NAN) & 0x7c00, 0x7c00);
  EXPECT_NE(half(DType::f16, NAN) & 0x3ff, 0);
}

// ---- the table, without a store

Table resident_table(std::int64_t tile_bytes, bool whole = false) {
  return Table(Layout(adam(), tile_bytes, pages), nullptr, 1.0, 3, whole);
}

TEST(TableTest, PacksSmallParametersAndCutsLargeOnes) {
  Table table = resident_table(3 * 64 * KiB);  // 16384 elements a tile
  const ParamId bias = table.add("bias", 100, {});
  const ParamId weight = table.add("weight", 40000, {});
  const ParamId none = table.add("none", 0, {});
  EXPECT_EQ(table.param(none).slice_count, 0u);
  ASSERT_EQ(table.tiles().size(), 3u);
  EXPECT_EQ(table.tiles()[0].slice_count, 2u);
  const auto& slices = table.unit(default_unit).slices;
  ASSERT_EQ(slices.size(), 4u);
  EXPECT_EQ(slices[0].param, bias);
  EXPECT_EQ(slices[0].count, 100);
  std::int64_t next = 0;
  for (std::size_t i = 1; i < slices.size(); ++i) {
    EXPECT_EQ(slices[i].param, weight);
    EXPECT_EQ(slices[i].offset, next);
    EXPECT_EQ(slices[i].offset % 4096, 0);
    next += slices[i].count;
  }
  EXPECT_EQ(next, 40000);
  EXPECT_EQ(table.offset(table.unit(default_unit), 1, 0), 448);  // 100 floats, up to 64 bytes
}

TEST(TableTest, TilesNeverStraddleUnits) {
  Table table = resident_table(3 * 64 * KiB);
  const UnitId layer = table.add_unit("layer 1");
  table.add("a", 10, {});
  table.add("b", 10, {.unit = layer});
  table.add("c", 10, {});
  ASSERT_EQ(table.tiles().size(), 2u);
  EXPECT_EQ(table.tiles()[0].slice_count, 2u);  // a and c
  EXPECT_EQ(table.tiles()[1].unit, layer);
}

TEST(TableTest, WholeParametersNeverAreCut) {
  Table table = resident_table(3 * 64 * KiB, true);
  table.add("a", 10000, {});
  table.add("b", 10000, {});
  table.add("c", 5000, {});
  ASSERT_EQ(table.tiles().size(), 2u);
  for (const SliceRecord& slice : table.unit(default_unit).slices) EXPECT_EQ(slice.offset, 0);
  try {
    table.add("d", 16385, {});
    FAIL() << "it cannot fit a tile";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::does_not_fit);
    EXPECT_NE(std::string(error.what()).find("\"d\""), std::string::npos);
  }
  EXPECT_EQ(table.params().size(), 3u);
}

TEST(TableTest, ClosedTailsTakeNothingMore) {
  Table table = resident_table(3 * 64 * KiB);
  table.add("a", 10, {});
  table.close_tails();
  table.add("b", 10, {});
  EXPECT_EQ(table.tiles().size(), 2u);
}

TEST(TableTest, RemovedParametersLeaveLiveNeighbours) {
  Table table = resident_table(3 * 64 * KiB);
  const ParamId a = table.add("a", 10, {});
  const ParamId b = table.add("b", 10, {});
  table.remove(a);
  EXPECT_TRUE(table.tiles()[0].live);
  table.remove(b);
  EXPECT_FALSE(table.tiles()[0].live);
  EXPECT_THROW(table.remove(b), Error);
  EXPECT_EQ(table.elements(), 0);
}

}  // namespace
}  // namespace spillway::swap
