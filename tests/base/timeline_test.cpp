#include "spillway/timeline.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(TimelineTest, KeepsWhatFitsAndCountsTheRest) {
  Timeline timeline(2);
  for (std::int64_t i = 0; i < 5; ++i)
    timeline.add({.activity = Activity::write, .begin_ns = i, .end_ns = i + 1});
  EXPECT_EQ(timeline.dropped(), 3);
  const std::vector<Span> spans = timeline.take();
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[1].begin_ns, 1);
  EXPECT_EQ(spans[1].activity, Activity::write);
}

TEST(TimelineTest, KeepsAgainAfterItWasTaken) {
  Timeline timeline(1);
  timeline.add({});
  timeline.add({});
  EXPECT_EQ(timeline.take().size(), 1U);
  EXPECT_EQ(timeline.dropped(), 0);
  timeline.add({.bytes = 7});
  const std::vector<Span> spans = timeline.take();
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].bytes, 7);
  EXPECT_TRUE(timeline.take().empty());
}

TEST(TimelineTest, ItsClockDoesNotGoBack) {
  const std::int64_t before = Timeline::now_ns();
  EXPECT_GT(before, 0);
  EXPECT_GE(Timeline::now_ns(), before);
}

}  // namespace
}  // namespace spillway
