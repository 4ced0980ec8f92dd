// A timeline of a swapper's transfers.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "support/swap_fixture.h"

#include "spillway/timeline.h"

namespace spillway {
namespace {

TEST(ContextRecordTest, TakesWhatAStepReadsAndWrites) {
  const test::Scratch scratch;
  Context context(test::small_config(OffloadDevice::nvme, scratch.path()));
  OptimizerSwapper swapper(context, {.states = {{"m"}, {"v"}}});
  swapper.add("p", 100000);
  const auto touch = [](const Slice& slice) {
    for (const char* state : {"m", "v"})
      for (float& value : slice.of<float>(state)) value += 1;
  };
  swapper.step(1, touch);

  const auto timeline = std::make_shared<Timeline>(10000);
  context.record(timeline);
  const OptimizerStats before = swapper.stats();
  swapper.step(2, touch);
  context.record(nullptr);
  const OptimizerStats after = swapper.stats();
  swapper.step(3, touch);

  std::map<Activity, std::int64_t> bytes;
  for (const Span& span : timeline->take()) {
    bytes[span.activity] += span.bytes;
    EXPECT_LE(span.begin_ns, span.end_ns);
  }
  EXPECT_EQ(timeline->dropped(), 0);
  EXPECT_EQ(bytes[Activity::read], after.bytes_read - before.bytes_read);
  EXPECT_EQ(bytes[Activity::write], after.bytes_written - before.bytes_written);
  EXPECT_GT(bytes[Activity::write], 0);
}

TEST(ContextRecordTest, WithoutAStoreThereIsNothingToTake) {
  Context context(Config{});
  const auto timeline = std::make_shared<Timeline>(10);
  context.record(timeline);
  EXPECT_TRUE(timeline->take().empty());
}

}  // namespace
}  // namespace spillway
