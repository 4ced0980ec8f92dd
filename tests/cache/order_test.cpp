#include "cache/order.h"

#include <gtest/gtest.h>

#include <random>

namespace spillway::cache {
namespace {

Order learned(std::vector<TensorId> accesses) {
  Order order;
  order.learn(accesses);
  return order;
}

TEST(OrderTest, FindsTheNextOccurrence) {
  const Order order = learned({0, 1, 2, 1, 0});
  EXPECT_EQ(order.length(), 5u);
  EXPECT_EQ(order.next(0, 0), 0u);
  EXPECT_EQ(order.next(0, 1), 4u);
  EXPECT_EQ(order.next(0, 5), Order::none);
  EXPECT_EQ(order.next(1, 2), 3u);
  EXPECT_EQ(order.next(3, 0), Order::none);
  EXPECT_EQ(order.next(no_tensor, 0), Order::none);
}

TEST(OrderTest, OfNothingPredictsNothing) {
  EXPECT_EQ(learned({}).length(), 0u);
  EXPECT_EQ(learned({}).next(0, 0), Order::none);
  EXPECT_EQ(Order().next(7, 0), Order::none);
}

TEST(OrderTest, ForgetsATensorAndItsSuccessorOfTheSameId) {
  Order order = learned({0, 1, 0, 2});
  order.forget(0);
  EXPECT_EQ(order.at(0), no_tensor);
  EXPECT_EQ(order.at(2), no_tensor);
  EXPECT_EQ(order.next(0, 0), Order::none);
  EXPECT_EQ(order.next(2, 0), 3u) << "the others keep their places";
  order.forget(99);
}

TEST(OrderTest, LearnsAnewInTheSameMemory) {
  Order order = learned({0, 1, 2, 3});
  std::vector<TensorId> next{3, no_tensor, 2, 5};
  order.learn(next);
  EXPECT_EQ(order.length(), 3u) << "forgotten tensors are left out";
  EXPECT_EQ(order.next(5, 0), 2u);
  EXPECT_EQ(order.next(0, 0), Order::none);
}

TEST(OrderTest, AgreesWithASearch) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  std::vector<TensorId> accesses(300);
  for (TensorId& id : accesses) id = static_cast<TensorId>(random() % 40);
  const Order order = learned(accesses);
  for (int i = 0; i < 3000; ++i) {
    const auto id = static_cast<TensorId>(random() % 45);
    const auto from = static_cast<Order::Position>(random() % 320);
    Order::Position expected = Order::none;
    for (auto at = from; at < accesses.size() && expected == Order::none; ++at)
      if (accesses[at] == id) expected = at;
    ASSERT_EQ(order.next(id, from), expected) << "id " << id << " from " << from;
  }
}

}  // namespace
}  // namespace spillway::cache
