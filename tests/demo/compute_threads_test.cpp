#include "compute_threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>
#include <vector>

namespace spillway::demo {
namespace {

TEST(ComputeThreadsTest, EveryPieceIsDoneOnceAndSeenByTheCaller) {
  for (const int threads : {1, 2, 3, 8}) {
    ComputeThreads crew(threads);
    EXPECT_EQ(crew.threads(), threads);
    for (const std::size_t pieces : {0, 1, 2, 3, 17, 1000}) {
      std::vector<int> done(pieces, 0);  // plain ints: the hand-over must order them
      crew.for_each(pieces, [&](std::size_t i) { ++done[i]; });
      EXPECT_EQ(done, std::vector<int>(pieces, 1)) << threads << " threads";
    }
  }
}

TEST(ComputeThreadsTest, ThousandsOfShortLoopsFollowOneAnother) {
  ComputeThreads crew(4);
  std::vector<std::int64_t> sums(4, 0);
  for (int loop = 0; loop < 5000; ++loop)
    crew.for_each(sums.size(), [&](std::size_t i) { sums[i] += loop; });
  EXPECT_EQ(sums, std::vector<std::int64_t>(4, 5000 * 4999 / 2));
}

TEST(ComputeThreadsTest, SleepersWake) {
  ComputeThreads crew(3);
  for (int loop = 0; loop < 10; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than they watch
    std::vector<int> done(64, 0);
    crew.for_each(done.size(), [&](std::size_t i) { ++done[i]; });
    EXPECT_EQ(done, std::vector<int>(64, 1));
  }
}

TEST(ComputeThreadsTest, TheCallerWaitsForSlowWorkers) {
  ComputeThreads crew(4);
  std::vector<std::thread::id> ids(4);
  crew.for_each(ids.size(), [&](std::size_t i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ids[i] = std::this_thread::get_id();
  });
  for (const std::thread::id id : ids) EXPECT_NE(id, std::thread::id());
}

TEST(ComputeThreadsTest, UnusedThreadsEnd) {
  for (int i = 0; i < 50; ++i) ComputeThreads crew(4);
}

}  // namespace
}  // namespace spillway::demo
