// In steady state an I/O takes nothing from the heap, on whatever thread.

#include <gtest/gtest.h>

#include <atomic>

#include "contract/engine_under_test.h"
#include "io/fake_engine.h"
#include "support/captured_log.h"
#include "support/heap/heap.h"

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
  const std::int64_t before = test::heap().allocations;
  for (int i = 0; i < 20; ++i) round();
  EXPECT_EQ(test::heap().allocations, before);
  EXPECT_EQ(callbacks, 23 * 6);
}

// There is no memory for the threads that take over: they come when there is some again.
TEST(LostBackendTest, WaitsForTheMemoryThatItsSuccessorNeeds) {
  CapturedLog logged;
  for (std::int64_t times : {1, 2, 5, 50}) {
    FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 4});
    fake.device->keep_log(false);
    paint(fake.arena.data(), MiB, 7);
    const auto request = fake.write(0, 320 * KiB);
    fake.device->lose_after(9, ENOSYS);
    {
      const test::FailingHeap none(1, times);
      fake.engine->submit(*request);
      fake.engine->wait(*request);
    }
    EXPECT_EQ(test::FailingHeap::refused(), times);
    EXPECT_EQ(request->outcome().error, 0);
    EXPECT_TRUE(fake.same(0, 320 * KiB));
    EXPECT_EQ(fake.engine->report().engine, "fake threads");
    EXPECT_EQ(fake.engine->report().reasons.size(), 1u);
  }
}

}  // namespace
}  // namespace spillway::io
