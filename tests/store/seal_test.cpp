#include "store/seal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace spillway::store {
namespace {

constexpr SealInput input{7, 5000, 3 * 4096};

std::vector<std::byte> section() {
  std::vector<std::byte> data(3 * 4096);
  for (std::size_t i = 0; i < 5000; ++i) data[i] = static_cast<std::byte>(i * 31);
  return data;
}

TEST(SealTest, ChecksumSeesEveryPayloadByteAndNothingElse) {
  std::vector<std::byte> data = section();
  const std::uint64_t before = checksum(input, data.data());
  data[5000] ^= std::byte{1};
  EXPECT_EQ(checksum(input, data.data()), before) << "the padding is nobody's";
  for (const std::size_t at : {std::size_t{0}, std::size_t{2500}, std::size_t{4999}}) {
    data[at] ^= std::byte{1};
    EXPECT_NE(checksum(input, data.data()), before) << at;
    data[at] ^= std::byte{1};
  }
  EXPECT_NE(checksum({7, 4999, 3 * 4096}, data.data()), before);
}

TEST(SealTest, TrailerNamesOneWriteOfOneSection) {
  std::vector<std::byte> data = section();
  put_trailer(input, 0xabc, 5, data.data());
  EXPECT_EQ(check_trailer(input, 0xabc, 5, data.data()), std::nullopt);
  EXPECT_THAT(check_trailer(input, 0xabc, 6, data.data()).value_or(""),
              testing::HasSubstr("expected the trailer of section 7 write 6"));
  EXPECT_TRUE(check_trailer({8, 5000, 3 * 4096}, 0xabc, 5, data.data()));
  EXPECT_TRUE(check_trailer({7, 5001, 3 * 4096}, 0xabc, 5, data.data()));
  EXPECT_TRUE(check_trailer(input, 0xabd, 5, data.data()));
}

TEST(SealTest, TrailerTellsZerosFromDamage) {
  std::vector<std::byte> data = section();
  EXPECT_THAT(check_trailer(input, 1, 1, data.data()).value_or(""), testing::HasSubstr("zeros"));
  put_trailer(input, 1, 1, data.data());
  data[2 * 4096 + 17] ^= std::byte{0x40};
  EXPECT_THAT(check_trailer(input, 1, 1, data.data()).value_or(""), testing::HasSubstr("damaged"));
}

TEST(SealTest, TrailerLeavesThePayloadAlone) {
  std::vector<std::byte> data = section();
  put_trailer(input, 1, 1, data.data());
  EXPECT_TRUE(std::equal(data.begin(), data.begin() + 2 * 4096, section().begin()));
}

}  // namespace
}  // namespace spillway::store
