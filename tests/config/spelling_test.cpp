#include "config/spelling.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace spillway::config {
namespace {

TEST(SpellingTest, DistanceCountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("ratio", "ratio"), 0U);
  EXPECT_EQ(edit_distance("ratio", "RATIO"), 0U);
  EXPECT_EQ(edit_distance("pin-memory", "pin_memory"), 0U);
  EXPECT_EQ(edit_distance("ratoi", "ratio"), 1U) << "neighbours swapped";
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("sitting", "kitten"), 3U);
}

TEST(SpellingTest, OffersOnlyWhatIsNear) {
  constexpr std::array<std::string_view, 3> known{"buffer_count", "buffer_size", "io"};
  EXPECT_EQ(nearest("bufer_size", known), "buffer_size");
  EXPECT_EQ(nearest("buffer_counts", known), "buffer_count");
  EXPECT_EQ(nearest("oi", known), "io");
  EXPECT_EQ(nearest("banana", known), std::nullopt);
  EXPECT_EQ(nearest("", known), std::nullopt);
  EXPECT_EQ(nearest(std::string(1 << 20, 'b'), known), std::nullopt);
}

}  // namespace
}  // namespace spillway::config
