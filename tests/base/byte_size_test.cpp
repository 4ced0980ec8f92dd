#include "base/byte_size.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(ByteSizeTest, ReadsWhatPeopleWrite) {
  EXPECT_EQ(parse_bytes("100000000"), 100000000);
  EXPECT_EQ(parse_bytes("1e8"), 100000000);
  EXPECT_EQ(parse_bytes("1E+8"), 100000000);
  EXPECT_EQ(parse_bytes("100MB"), 100000000);
  EXPECT_EQ(parse_bytes("96MiB"), 96 << 20);
  EXPECT_EQ(parse_bytes("96 mib"), 96 << 20);
  EXPECT_EQ(parse_bytes("1.5GiB"), std::int64_t{3} << 29);
  EXPECT_EQ(parse_bytes("0"), 0);
  EXPECT_EQ(parse_bytes("4096B"), 4096);
  EXPECT_EQ(parse_bytes("0.5KiB"), 512);
  EXPECT_EQ(parse_bytes("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parse_bytes("1e-3kb"), 1);
}

TEST(ByteSizeTest, RefusesWhatIsNoWholeNumberOfBytes) {
  for (const char* text : {"", "-1", "1.5", "abc", "1e30", "12QB", "MiB", "1e", "1e+", "0.1KiB",
                           "9223372036854775808", "1 2", "++1", " 1", "nan", "inf", "0x10",
                           "99999999999999999999999999999999999999999999", "1e99999999999"})
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
}

TEST(ByteSizeTest, FormatsShortly) {
  EXPECT_EQ(format_bytes(512), "512 bytes");
  EXPECT_EQ(format_bytes(96 << 20), "96.0 MiB");
}

}  // namespace
}  // namespace spillway
