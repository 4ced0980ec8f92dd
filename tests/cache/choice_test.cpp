// Which tensors of a unit are kept: as an exhaustive search finds it.

#include "cache/choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace spillway::cache {
namespace {

std::vector<Candidate> candidates(const std::vector<std::int64_t>& sizes) {
  std::vector<Candidate> all;
  for (const std::int64_t size : sizes)
    all.push_back({.index = all.size(), .elements = size, .bytes = 4 * size});
  return all;
}

std::vector<std::int64_t> chosen(const std::vector<Candidate>& all) {
  std::vector<std::int64_t> sizes;
  for (const Candidate& one : all)
    if (one.chosen) sizes.push_back(one.elements);
  return sizes;
}

bool exists(const std::vector<Candidate>& all, Room room, std::int64_t needed) {
  for (std::uint32_t subset = 0; subset < 1U << all.size(); ++subset) {
    std::int64_t elements = 0, bytes = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
      if ((subset >> i & 1U) != 0) elements += all[i].elements, bytes += all[i].bytes;
    if (elements <= room.elements && bytes <= room.bytes && bytes >= needed) return true;
  }
  return false;
}

TEST(ChoiceTest, NothingIsChosenWhereNothingIsNeeded) {
  auto all = candidates({3, 2, 1});
  EXPECT_TRUE(choose(all, {.elements = 10, .bytes = 40}, 0));
  EXPECT_TRUE(chosen(all).empty());
}

TEST(ChoiceTest, WhatComesFirstIsPreferred) {
  auto all = candidates({2, 5, 4});
  EXPECT_TRUE(choose(all, {.elements = 7, .bytes = 28}, 24));
  EXPECT_EQ(chosen(all), (std::vector<std::int64_t>{2, 5}));
}

// Neither the largest nor the smallest first would do.
TEST(ChoiceTest, AnExactFitIsFound) {
  auto all = candidates({8, 6, 5, 4, 1});
  EXPECT_TRUE(choose(all, {.elements = 10, .bytes = 40}, 40));
  EXPECT_EQ(chosen(all), (std::vector<std::int64_t>{6, 4}));
}

TEST(ChoiceTest, BytesAreARoomOfTheirOwn) {
  std::vector<Candidate> all = {{.index = 0, .elements = 1, .bytes = 4096},
                                {.index = 1, .elements = 1, .bytes = 4096}};
  EXPECT_TRUE(choose(all, {.elements = 2, .bytes = 8192}, 8192));
  EXPECT_FALSE(choose(all, {.elements = 2, .bytes = 8191}, 8192));
}

// A model's layers are alike: two hundred of one size and two hundred of another are two kinds.
TEST(ChoiceTest, ManyOfFewSizesAreSearchedToTheEnd) {
  std::vector<std::int64_t> sizes(200, 1000);
  sizes.resize(400, 600);
  auto all = candidates(sizes);
  EXPECT_FALSE(choose(all, {.elements = 1700, .bytes = 6800}, 4 * 1601));
  EXPECT_TRUE(choose(all, {.elements = 1800, .bytes = 7200}, 4 * 1800));
}

TEST(ChoiceTest, TheSearchEnds) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t i = 0; i < 60; ++i) sizes.push_back(2 * (1'000'000 + i * i));
  auto all = candidates(sizes);
  EXPECT_FALSE(choose(all, {.elements = 60'001'001, .bytes = 4 * 60'001'001}, 4 * 60'001'001));
}

TEST(ChoiceTest, ItIsWhatAnExhaustiveSearchFinds) {
  std::mt19937 random(7);
  const auto pick = [&random](int low, int high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  int possible = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<Candidate> all;
    const std::int64_t count = pick(0, 9);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t elements = pick(0, 12);
      all.push_back({.index = all.size(), .elements = elements, .bytes = elements + pick(0, 3)});
    }
    if (pick(0, 1) == 1)
      std::sort(all.begin(), all.end(),
                [](const Candidate& a, const Candidate& b) { return a.bytes > b.bytes; });
    const Room room = {.elements = pick(0, 40), .bytes = pick(0, 50)};
    const std::int64_t needed = pick(0, 50);
    const bool found = choose(all, room, needed);
    ASSERT_EQ(found, exists(all, room, needed)) << "round " << round;
    if (!found) continue;
    ++possible;
    std::int64_t elements = 0, bytes = 0;
    for (const Candidate& one : all)
      if (one.chosen) elements += one.elements, bytes += one.bytes;
    ASSERT_LE(elements, room.elements);
    ASSERT_LE(bytes, room.bytes);
    ASSERT_GE(bytes, needed);
  }
  EXPECT_GT(possible, 500);
}

}  // namespace
}  // namespace spillway::cache
