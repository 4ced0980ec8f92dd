// What goes from the pool to make room in it, and what stays.

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "swap/parameter_fixture.h"

namespace spillway::test {
namespace {

constexpr std::int64_t granule = 64 * 1024;
constexpr std::int64_t one = granule / 4;  // elements

// A pool of four granules, and no cache: what was read stays in the pool until others need the
// room.
class ParameterPoolTest : public testing::Test {
 protected:
  ParameterPoolTest()
      : context_(parameter_config(OffloadDevice::nvme, scratch_.path(), 4, granule, 0)),
        swapper_(context_, {.timeout = 10}) {
    std::vector<ParamId> ids;
    for (std::uint64_t tag = 0; tag < 4; ++tag) ids.push_back(add(tag, one));
    large_ = add(4, 2 * one);
    swapper_.flush();
    std::map<const std::byte*, ParamId> by_address;
    std::vector<Lease> leases;
    for (const ParamId id : ids) {
      leases.push_back(swapper_.fetch(id));
      by_address[leases.back().tensors()[0].raw().data()] = id;
    }
    for (const auto& [address, id] : by_address) small_.push_back(id);
  }

  void use(const std::vector<std::size_t>& in_turn) {
    for (const std::size_t i : in_turn) swapper_.fetch(small_[i]);
  }

  ParamId add(std::uint64_t tag, std::int64_t elements) {
    const ParamId id = swapper_.add("p" + std::to_string(tag), elements, DType::f32, {.tag = tag});
    put(swapper_, id, tag, 1);
    return id;
  }

  std::vector<Residence> where() const {
    std::vector<Residence> all;
    for (const ParamId id : small_) all.push_back(swapper_.where(id));
    return all;
  }

  const Scratch scratch_;
  Context context_;
  ParameterSwapper swapper_;
  std::vector<ParamId> small_;  // side by side
  ParamId large_;
};

constexpr Residence here = Residence::buffers, away = Residence::store;

TEST_F(ParameterPoolTest, WhatDoesNotHelpStays) {
  ASSERT_EQ(where(), (std::vector{here, here, here, here}));
  use({0, 2, 1, 3});  // 0 and 2 would go first, which are no neighbours
  EXPECT_EQ(swapper_.prefetch(large_), 1);
  EXPECT_EQ(where(), (std::vector{away, away, here, here}));
  EXPECT_EQ(copy_of(swapper_.fetch(large_)), values(4, 0, 2 * one, 1));
}

TEST_F(ParameterPoolTest, NothingGoesWhereItIsNotEnough) {
  const Lease second = swapper_.fetch(small_[1]), fourth = swapper_.fetch(small_[3]);
  EXPECT_EQ(swapper_.prefetch(large_), 0);
  EXPECT_EQ(where(), (std::vector{here, here, here, here}));
}

TEST_F(ParameterPoolTest, BesideWhatIsFreeLessGoes) {
  use({0, 1, 3});  // 1 must go, with 0 or with what is free behind it
  swapper_.remove(small_[2]);
  small_.erase(small_.begin() + 2);
  EXPECT_EQ(swapper_.prefetch(large_), 1);
  EXPECT_EQ(where(), (std::vector{here, away, here}));
}

}  // namespace
}  // namespace spillway::test
