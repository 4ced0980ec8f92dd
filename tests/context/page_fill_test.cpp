#include "context/page_fill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "base/align.h"

namespace spillway {
namespace {

constexpr auto page = static_cast<std::size_t>(page_bytes);

class PageFillTest : public testing::TestWithParam<LoadFill> {
 protected:
  PageFillTest() : memory_(8 * page) { fill_pages(memory_, GetParam(), 1); }
  std::span<std::byte> number(std::size_t n) { return std::span(memory_).subspan(n * page, page); }

  std::vector<std::byte> memory_;
};

TEST_P(PageFillTest, EveryPageIsWholeAndUnlikeTheOthers) {
  std::set<std::string> different;
  for (std::size_t n = 0; n < 8; ++n) {
    EXPECT_TRUE(whole_page(number(n), GetParam())) << n;
    different.emplace(reinterpret_cast<const char*>(number(n).data()), page);
  }
  EXPECT_EQ(different.size(), 8U);
}

TEST_P(PageFillTest, AnyChangedByteShows) {
  for (std::size_t at = 0; at < page; ++at) {
    number(3)[at] ^= std::byte{0x40};
    EXPECT_FALSE(whole_page(number(3), GetParam())) << at;
    number(3)[at] ^= std::byte{0x40};
  }
}

TEST_P(PageFillTest, HalvesOfTwoPagesAreNoPage) {
  std::copy_n(number(1).begin(), page / 2, number(0).begin());
  EXPECT_FALSE(whole_page(number(0), GetParam()));
}

TEST_P(PageFillTest, WhatWasNeverWrittenIsNoPage) {
  std::ranges::fill(number(2), std::byte{0});
  EXPECT_FALSE(whole_page(number(2), GetParam()));
  EXPECT_FALSE(whole_page(number(2).subspan(0, 512), GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Fills, PageFillTest, testing::Values(LoadFill::random, LoadFill::words));

// What a device could compress or find twice would flatter it.
TEST(PageFillRandomTest, NoWordStandsTwice) {
  std::vector<std::byte> memory(64 * page);
  fill_pages(memory, LoadFill::random, 1);
  std::vector<std::uint64_t> words(memory.size() / 8);
  std::memcpy(words.data(), memory.data(), memory.size());
  EXPECT_EQ(std::set<std::uint64_t>(words.begin(), words.end()).size(), words.size());
}

TEST(PageFillRandomTest, SeedsGiveDifferentPages) {
  std::vector<std::byte> one(page), two(page);
  fill_pages(one, LoadFill::random, 1);
  fill_pages(two, LoadFill::random, 2);
  EXPECT_NE(one, two);
}

TEST(PageFillWordsTest, APageRepeatsOneWord) {
  std::vector<std::byte> memory(2 * page);
  fill_pages(memory, LoadFill::words, 1);
  EXPECT_EQ(std::memcmp(memory.data(), memory.data() + 8, page - 8), 0);
}

}  // namespace
}  // namespace spillway
