// Who is served when: classes, order, deadlines, the end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/align.h"
#include "memory/buffer_pool.h"
#include "support/page_memory.h"

#include "spillway/error.h"

namespace spillway {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t size = 64 * KiB;

/// A pool of 4 buffers, and threads that queue up in an order that the test decides.
class BufferPoolWaitTest : public ::testing::Test {
 protected:
  using Waiting = std::future<BufferLease>;

  /// Starts a thread that acquires, and returns once it stands in the queue.
  Waiting queue_up(std::int64_t buffers, PoolClass service, const char* name,
                   TimePoint deadline = deadline_in(60)) {
    const std::int64_t before = pool_.stats().waits;
    Waiting waiting = std::async(std::launch::async, [=, this] {
      BufferLease lease = pool_.acquire(buffers * size, service, deadline, name);
      std::lock_guard lock(mutex_);
      served_.emplace_back(name);
      return lease;
    });
    while (pool_.stats().waits == before) std::this_thread::yield();
    return waiting;
  }

  static bool done(const Waiting& waiting) {
    return waiting.wait_for(std::chrono::milliseconds(20)) == std::future_status::ready;
  }

  static Error error_of(Waiting& waiting) {
    try {
      waiting.get();
    } catch (const Error& error) {
      return error;
    }
    return {Errc::busy, "no error was thrown"};
  }

  PageMemory memory_{4 * size};
  BufferPool pool_{memory_.span(), 4, size, "tiles"};
  std::mutex mutex_;
  std::vector<std::string> served_;
};

TEST_F(BufferPoolWaitTest, FirstComeFirstServed) {
  std::optional<BufferLease> all = pool_.acquire(4 * size, PoolClass::demand, deadline_in(1));
  Waiting a = queue_up(3, PoolClass::demand, "a");
  Waiting b = queue_up(3, PoolClass::demand, "b");
  Waiting c = queue_up(3, PoolClass::demand, "c");
  all.reset();
  for (Waiting* next : {&a, &b, &c}) next->get();  // each gives its run to the next
  EXPECT_THAT(served_, ElementsAre("a", "b", "c"));
  EXPECT_EQ(pool_.stats().waits, 3);
  EXPECT_GT(pool_.stats().wait_seconds, 0);
}

TEST_F(BufferPoolWaitTest, DemandsGoBeforePrefetches) {
  std::optional<BufferLease> all = pool_.acquire(4 * size, PoolClass::demand, deadline_in(1));
  Waiting prefetch = queue_up(4, PoolClass::prefetch, "prefetch");
  Waiting first = queue_up(4, PoolClass::demand, "first");
  Waiting second = queue_up(4, PoolClass::demand, "second");
  all.reset();
  for (Waiting* next : {&first, &second, &prefetch}) next->get();
  EXPECT_THAT(served_, ElementsAre("first", "second", "prefetch"));
}

TEST_F(BufferPoolWaitTest, ALargeRequestIsNotStarvedBySmallOnes) {
  std::optional<BufferLease> half = pool_.acquire(2 * size, PoolClass::demand, deadline_in(1));
  Waiting large = queue_up(4, PoolClass::demand, "large");
  Waiting small = queue_up(1, PoolClass::demand, "small");
  Waiting ahead = queue_up(1, PoolClass::prefetch, "ahead");
  // Two buffers are free, yet none of these may take one before the large request has had its turn.
  EXPECT_FALSE(pool_.try_acquire(size));
  EXPECT_FALSE(done(small));
  EXPECT_FALSE(done(ahead));
  half.reset();
  { const BufferLease lease = large.get(); }
  small.get();
  ahead.get();
  EXPECT_EQ(served_[0], "large");
}

TEST_F(BufferPoolWaitTest, ADemandPassesWaitingPrefetches) {
  const auto half = pool_.acquire(2 * size, PoolClass::demand, deadline_in(1));
  Waiting prefetch = queue_up(4, PoolClass::prefetch, "prefetch", deadline_in(1));
  EXPECT_FALSE(pool_.try_acquire(size));  // counts as a prefetch, and would overtake
  EXPECT_TRUE(pool_.acquire(size, PoolClass::demand, deadline_in(0)));
  EXPECT_EQ(error_of(prefetch).code(), Errc::timeout);
}

TEST_F(BufferPoolWaitTest, ATimeoutSaysWhoHoldsWhat) {
  const auto a = pool_.acquire(size, PoolClass::demand, deadline_in(1), "tile 3");
  const auto b = pool_.acquire(2 * size, PoolClass::demand, deadline_in(1), "tile 9");
  Waiting waiting = queue_up(3, PoolClass::demand, "tile 12", deadline_in(0.01));
  const Error error = error_of(waiting);
  EXPECT_EQ(error.code(), Errc::timeout);
  EXPECT_THAT(
      error.what(),
      AllOf(ContainsRegex("tiles: tile 12 waited [0-9]+\\.[0-9]+ s"), HasSubstr("for 192.0 KiB"),
            HasSubstr("2 holders, 192.0 KiB: tile 3 (64.0 KiB), tile 9 (128.0 KiB)"),
            HasSubstr("largest free run 64.0 KiB"), HasSubstr("raise buffer_count")));
  EXPECT_TRUE(pool_.try_acquire(size));  // the queue is empty again
}

TEST_F(BufferPoolWaitTest, WhoeverStandsBehindATimeoutMovesUp) {
  const auto one = pool_.acquire(size, PoolClass::demand, deadline_in(1));
  Waiting large = queue_up(4, PoolClass::demand, "large", deadline_in(1));
  Waiting small = queue_up(1, PoolClass::demand, "small");
  Waiting ahead = queue_up(1, PoolClass::prefetch, "ahead");
  EXPECT_EQ(error_of(large).code(), Errc::timeout);
  EXPECT_TRUE(small.get());
  EXPECT_TRUE(ahead.get());
}

TEST_F(BufferPoolWaitTest, ADeadlineThatHasPassedStillTakesWhatIsFree) {
  const auto lease = pool_.acquire(4 * size, PoolClass::prefetch, Clock::now());
  EXPECT_TRUE(lease);
  EXPECT_THROW(pool_.acquire(size, PoolClass::demand, Clock::now()), Error);
  EXPECT_THROW(pool_.acquire(size, PoolClass::demand, TimePoint{}), Error);
}

TEST_F(BufferPoolWaitTest, StopEndsEveryWait) {
  BufferLease all = pool_.acquire(4 * size, PoolClass::demand, deadline_in(1));
  Waiting demand = queue_up(1, PoolClass::demand, "demand");
  Waiting prefetch = queue_up(1, PoolClass::prefetch, "prefetch");
  pool_.stop();
  EXPECT_EQ(error_of(demand).code(), Errc::shut_down);
  EXPECT_EQ(error_of(prefetch).code(), Errc::shut_down);
  all.data()[0] = std::byte{1};  // leases stay valid
  all.release();
  EXPECT_FALSE(pool_.try_acquire(size));
  EXPECT_THROW(pool_.acquire(size, PoolClass::demand, deadline_in(1)), Error);
  EXPECT_EQ(pool_.stats().leased_bytes, 0);
}

}  // namespace
}  // namespace spillway
