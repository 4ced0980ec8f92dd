#include "cache/follower.h"

#include <gtest/gtest.h>

#include <numeric>

namespace spillway::cache {
namespace {

using Seen = Follower::Seen;

// The order 0, 1, 2, … n - 1.
class FollowerTest : public testing::Test {
 protected:
  void start(TensorId n) {
    std::vector<TensorId> ids(n);
    std::iota(ids.begin(), ids.end(), 0);
    order.learn(ids);
    follower.start(order);
  }
  void follow_all(TensorId from, TensorId to) {
    for (TensorId id = from; id < to; ++id) ASSERT_EQ(follower.follow(id), Seen::expected) << id;
  }
  Order order;
  Follower follower;
};

TEST_F(FollowerTest, WalksAlong) {
  start(1000);
  follow_all(0, 1000);
  EXPECT_EQ(follower.position(), 1000u);
  EXPECT_EQ(follower.calm(), 1000u);
  EXPECT_EQ(follower.follow(3), Seen::stray);
}

TEST_F(FollowerTest, TwoSwappedAccessesAreNoDifference) {
  start(10);
  for (const TensorId id : {1, 0, 2, 4, 3}) EXPECT_EQ(follower.follow(id), Seen::expected);
  EXPECT_EQ(follower.position(), 5u);
  EXPECT_EQ(follower.calm(), 5u);
}

TEST_F(FollowerTest, AnExtraAccessMovesNothing) {
  start(1000);
  follow_all(0, 100);
  EXPECT_EQ(follower.follow(50), Seen::stray) << "seen already";
  EXPECT_EQ(follower.follow(700), Seen::stray) << "far ahead";
  EXPECT_EQ(follower.follow(5000), Seen::stray) << "not in the order";
  EXPECT_EQ(follower.position(), 100u);
  follow_all(100, 1000);
  EXPECT_FALSE(follower.broken());
}

TEST_F(FollowerTest, ASkippedAccessIsGivenUpAfterAWhile) {
  start(100);
  follow_all(0, 10);
  follow_all(12, 12 + Follower::patience - 1);
  EXPECT_EQ(follower.position(), 10u) << "it may still come";
  EXPECT_TRUE(follower.skipped().empty());
  follow_all(12 + Follower::patience - 1, 12 + Follower::patience);
  ASSERT_EQ(follower.skipped().size(), 2u);
  EXPECT_EQ(follower.skipped()[0], 10u);
  EXPECT_EQ(follower.skipped()[1], 11u);
  EXPECT_EQ(follower.position(), 12u + Follower::patience);
  EXPECT_EQ(follower.follow(10), Seen::stray) << "now it is late";
  EXPECT_TRUE(follower.skipped().empty());
}

TEST_F(FollowerTest, SkippingALayerNowAndThenIsBorne) {
  start(2000);
  for (TensorId layer = 0; layer + 100 <= 2000; layer += 100) follow_all(layer, layer + 80);
  EXPECT_FALSE(follower.broken());
  EXPECT_GT(follower.position(), 1970u);
}

TEST_F(FollowerTest, JumpsWhereThePassHasJumped) {
  start(1000);
  follow_all(0, 100);
  for (TensorId id = 600; id < 600 + Follower::run_to_jump - 1; ++id)
    ASSERT_EQ(follower.follow(id), Seen::stray);
  EXPECT_EQ(follower.follow(600 + Follower::run_to_jump - 1), Seen::jumped);
  EXPECT_EQ(follower.position(), 600u + Follower::run_to_jump);
  follow_all(600 + Follower::run_to_jump, 1000);
  EXPECT_FALSE(follower.broken());
}

TEST_F(FollowerTest, BreaksWhenTheOrderIsAnother) {
  start(1000);
  int accesses = 0;
  for (TensorId id = 999; !follower.broken(); --id, ++accesses) follower.follow(id);
  EXPECT_LE(accesses, 20) << "backwards is no jump";
}

TEST_F(FollowerTest, ForgottenTensorsAreNotWaitedFor) {
  start(100);
  follow_all(0, 10);
  for (TensorId id = 10; id < 90; ++id) order.forget(id);
  follower.settle();
  EXPECT_EQ(follower.position(), 90u);
  follow_all(90, 100);
  EXPECT_EQ(follower.position(), 100u);
}

}  // namespace
}  // namespace spillway::cache
