#include "base/byte_size.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>

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

// Digits, a fraction, an exponent and a unit, against arithmetic that cannot overflow.
RC_GTEST_PROP(ByteSizePropertyTest, AgreesWithArithmeticInFull, ()) {
  const auto whole = *rc::gen::inRange<std::int64_t>(0, 1'000'000'000);
  const auto exponent = *rc::gen::inRange(0, 10);
  const auto unit = *rc::gen::element<std::pair<std::string, std::int64_t>>(
      std::pair{"", 1}, std::pair{"kB", 1000}, std::pair{" KiB", 1024}, std::pair{"MiB", 1 << 20},
      std::pair{"tib", std::int64_t{1} << 40});
  __int128 expected = static_cast<__int128>(whole) * unit.second;
  for (int i = 0; i < exponent; ++i) expected *= 10;
  std::string text = std::to_string(whole);
  if (exponent > 0) text += "e" + std::to_string(exponent);
  const auto got = parse_bytes(text + unit.first);
  if (expected > INT64_MAX) {
    RC_ASSERT(!got);
  } else {
    RC_ASSERT(got == static_cast<std::int64_t>(expected));
  }
  // The same number with its point elsewhere.
  if (exponent == 0 && got) {
    const std::string digits = std::to_string(whole);
    RC_ASSERT(parse_bytes("0." + digits + "e" + std::to_string(digits.size()) + unit.first) == got);
    RC_ASSERT(parse_bytes(digits + "000e-3" + unit.first) == got);
  }
}

RC_GTEST_PROP(ByteSizePropertyTest, AnyTextIsASizeOrNone, (const std::string& text)) {
  for (const std::string& one : {text, "1" + text, "1e" + text, text + "MiB", "0." + text}) {
    const auto bytes = parse_bytes(one);
    RC_ASSERT(!bytes || *bytes >= 0);
  }
}

TEST(ByteSizeTest, FormatsShortly) {
  EXPECT_EQ(format_bytes(512), "512 bytes");
  EXPECT_EQ(format_bytes(96 << 20), "96.0 MiB");
}

}  // namespace
}  // namespace spillway
