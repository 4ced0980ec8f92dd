#include "cache/eviction_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace spillway::cache {
namespace {

TEST(EvictionHeapTest, AgreesWithAMap) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  EvictionHeap heap;
  std::map<TensorId, EvictionHeap::Priority> model;
  for (int step = 0; step < 20000; ++step) {
    const auto id = static_cast<TensorId>(random() % 200);
    const EvictionHeap::Priority priority = random() % 1000;
    if (step % 1000 == 999) {
      for (auto& [each, old] : model) old = (each * 7919u + 13) % 1000;
      heap.rebuild([](TensorId each) { return (each * 7919u + 13) % 1000; });
    } else if (!model.contains(id)) {
      heap.push(id, priority);
      model[id] = priority;
    } else if (random() % 2 == 0) {
      heap.erase(id);
      model.erase(id);
    } else {
      heap.change(id, priority);
      model[id] = priority;
    }
    ASSERT_EQ(heap.size(), model.size());
    ASSERT_EQ(heap.contains(id), model.contains(id));
    if (model.empty()) continue;
    const auto top =
        std::ranges::max_element(model, {}, [](const auto& each) { return each.second; });
    ASSERT_EQ(heap.top_priority(), top->second);
    ASSERT_EQ(model.at(heap.top()), top->second);
  }
}

}  // namespace
}  // namespace spillway::cache
