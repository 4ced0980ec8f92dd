// In steady state an I/O takes nothing from the heap, on whatever thread.

#include <gtest/gtest.h>

#include <atomic>

#include "contract/engine_under_test.h"
#include "io/counting_new.h"

namespace spillway::io {
namespace {

class AllocationTest : public EngineContract {};
INSTANTIATE_TEST_SUITE_P(All, AllocationTest,
                         ::testing::Values(Kind::ring, Kind::ring_poll, Kind::threads, Kind::fake),
                         [](const auto& instance) { return name_of(instance.param); });

TEST_P(AllocationTest, NoneInSteadyState) {
  constexpr std::int64_t each = 256 * KiB;
  constexpr int count = 16;
  const PageMemory memory(count * each);
  if (device) device->keep_log(false);
  std::vector<Request> requests(count);
  std::vector<Request*> batch;
  std::atomic<int> callbacks{0};
  for (int i = 0; i < count; ++i) {
    Request& request = requests[static_cast<std::size_t>(i)];
    fill(request, i % 2 == 0 ? Op::read : Op::write, i * each, memory.data() + i * each, each);
    request.context = &callbacks;
    if (i % 3 == 0)
      request.callback = [](Request&, void* context) {
        ++*static_cast<std::atomic<int>*>(context);
      };
    batch.push_back(&request);
  }
  const auto round = [&] {
    engine->submit(batch);
    for (Request& request : requests) engine->wait(request);
  };
  for (int i = 0; i < 3; ++i) round();
  count_allocations(true);
  for (int i = 0; i < 20; ++i) round();
  count_allocations(false);
  EXPECT_EQ(counted_allocations(), 0);
  EXPECT_EQ(callbacks, 23 * 6);
}

}  // namespace
}  // namespace spillway::io
