// In which order requests reach the device, and how much of it at once.

#include <gtest/gtest.h>

#include <numeric>

#include "io/fake_engine.h"
#include "io/scheduler.h"

namespace spillway::io {
namespace {

TEST(PieceTest, RequestsAreCutEvenly) {
  const auto cut = [](std::int64_t bytes, std::int64_t block, std::int64_t alignment) {
    std::vector<std::int64_t> parts;
    while (bytes > 0) {
      parts.push_back(next_piece_bytes(bytes, block, alignment));
      bytes -= parts.back();
    }
    return parts;
  };
  using Parts = std::vector<std::int64_t>;
  EXPECT_EQ(cut(20 * KiB, 16 * KiB, 4 * KiB), (Parts{12 * KiB, 8 * KiB}));
  EXPECT_EQ(cut(16 * KiB, 16 * KiB, 4 * KiB), (Parts{16 * KiB}));
  EXPECT_EQ(cut(4 * KiB, 16 * KiB, 4 * KiB), (Parts{4 * KiB}));
  EXPECT_EQ(cut(36 * KiB, 16 * KiB, 4 * KiB), (Parts{12 * KiB, 12 * KiB, 12 * KiB}));
  for (std::int64_t pages = 1; pages < 200; ++pages) {
    for (std::int64_t block = 1; block < 9; ++block) {
      const Parts parts = cut(pages * 512, block * 512, 512);
      EXPECT_EQ(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}), pages * 512);
      EXPECT_EQ(static_cast<std::int64_t>(parts.size()), divide_up(pages, block));
      for (const std::int64_t part : parts) {
        EXPECT_LE(part, block * 512);
        EXPECT_GE(part + 512, parts.front());
        EXPECT_EQ(part % 512, 0);
      }
    }
  }
}

TEST(QueueTest, HugeBlocksStayBelowWhatTheKernelMovesAtOnce) {
  EngineOptions options;
  options.block_size = std::int64_t{1} << 40;
  EXPECT_EQ(Scheduler(options).piece_limit(4096), 2147479552);
  EXPECT_EQ(Scheduler(options).piece_limit(65536), 2147479552 / 65536 * 65536);
  options.block_size = 1000;
  EXPECT_EQ(Scheduler(options).piece_limit(4096), 4096);
  options.block_size = 10000;
  EXPECT_EQ(Scheduler(options).piece_limit(4096), 8192);
}

TEST(QueueTest, DepthIsKeptFullAcrossRequests) {
  constexpr std::int64_t depth = 6, count = 40;
  FakeEngine fake({.block_size = 16 * KiB, .queue_depth = depth});
  fake.device->hold();
  std::vector<std::unique_ptr<Request>> requests;
  std::vector<Request*> batch;
  // Mostly requests of one piece: a queue that waited for the end of each would run at depth 1.
  for (std::int64_t i = 0; i < count; ++i) {
    requests.push_back(fake.read(i * 64 * KiB, i % 5 == 0 ? 40 * KiB : 16 * KiB));
    batch.push_back(requests.back().get());
  }
  fake.engine->submit(batch);
  const std::int64_t pieces = count + 2 * (count / 5);
  for (std::int64_t done = 0; done + depth <= pieces; ++done) {
    ASSERT_TRUE(fake.device->wait_started(done + depth));
    EXPECT_EQ(fake.device->in_flight(), depth);
    fake.device->release(1);
  }
  fake.device->release();
  for (auto& request : requests) fake.engine->wait(*request);
  EXPECT_EQ(fake.device->started(), pieces);
  EXPECT_EQ(fake.device->peak_in_flight(), depth);
  EXPECT_EQ(fake.engine->stats().peak_in_flight, depth);
}

// One piece at a time, so that the log is the order of service.
std::vector<std::int64_t> order_of(FakeEngine& fake, const std::vector<Request*>& batch) {
  fake.device->hold();
  auto first = fake.read(0, 4096);  // keeps the device busy until all are queued
  fake.engine->submit(*first);
  EXPECT_TRUE(fake.device->wait_started(1));
  fake.engine->submit(batch);
  fake.device->release();
  for (Request* request : batch) fake.engine->wait(*request);
  fake.engine->wait(*first);
  std::vector<std::int64_t> offsets;
  const std::vector<FakeOp> log = fake.device->log();
  for (std::size_t i = 1; i < log.size(); ++i) offsets.push_back(log[i].offset / (64 * KiB));
  return offsets;
}

TEST(QueueTest, DemandComesFirstAndPrefetchAndWritesTakeTurns) {
  FakeEngine fake({.block_size = 64 * KiB, .queue_depth = 1});
  std::vector<std::unique_ptr<Request>> requests;
  std::vector<Request*> batch;
  const auto add = [&](Op op, Service service, std::int64_t place) {
    requests.push_back(fake.request(op, service, place * 64 * KiB, 64 * KiB));
    batch.push_back(requests.back().get());
  };
  for (const std::int64_t place : {10, 11, 12, 13}) add(Op::write, Service::write, place);
  for (const std::int64_t place : {20, 21}) add(Op::read, Service::prefetch, place);
  for (const std::int64_t place : {30, 31, 32}) add(Op::read, Service::demand, place);
  EXPECT_EQ(order_of(fake, batch), (std::vector<std::int64_t>{30, 31, 32, 20, 10, 21, 11, 12, 13}));
}

TEST(QueueTest, ADemandOvertakesTheRestOfAPrefetch) {
  FakeEngine fake({.block_size = 64 * KiB, .queue_depth = 1});
  fake.device->hold();
  auto prefetch = fake.request(Op::read, Service::prefetch, 0, 256 * KiB);
  auto demand = fake.read(MiB, 64 * KiB);
  fake.engine->submit(*prefetch);
  ASSERT_TRUE(fake.device->wait_started(1));
  fake.engine->submit(*demand);
  fake.device->release(1);
  ASSERT_TRUE(fake.device->wait_started(2));
  EXPECT_EQ(fake.device->log()[1].offset, MiB);
  fake.device->release();
  fake.engine->wait(*prefetch);
  fake.engine->wait(*demand);
}

TEST(QueueTest, PromotedPrefetchGoesBeforeOthers) {
  FakeEngine fake({.block_size = 64 * KiB, .queue_depth = 1});
  fake.device->hold();
  auto busy = fake.read(0, 4096);
  fake.engine->submit(*busy);
  ASSERT_TRUE(fake.device->wait_started(1));
  std::vector<std::unique_ptr<Request>> requests;
  for (std::int64_t i = 1; i <= 4; ++i) {
    requests.push_back(fake.request(Op::read, Service::prefetch, i * 64 * KiB, 64 * KiB));
    fake.engine->submit(*requests.back());
  }
  fake.engine->promote(*requests[2]);
  fake.engine->promote(*requests[2]);
  fake.engine->promote(*busy);
  EXPECT_EQ(requests[2]->service, Service::demand);
  fake.device->release();
  for (auto& request : requests) fake.engine->wait(*request);
  fake.engine->wait(*busy);
  fake.engine->promote(*requests[0]);  // done: left alone
  EXPECT_EQ(requests[0]->service, Service::prefetch);
  EXPECT_EQ(fake.device->log()[1].offset, 3 * 64 * KiB);
}

TEST(QueueTest, BudgetsHoldPerDirection) {
  FakeEngine fake({.block_size = 64 * KiB,
                   .queue_depth = 32,
                   .read_budget = 200 * KiB,
                   .write_budget = 128 * KiB});
  std::vector<std::unique_ptr<Request>> requests;
  std::vector<Request*> batch;
  for (std::int64_t i = 0; i < 20; ++i) {
    requests.push_back(i % 2 == 0
                           ? fake.request(Op::read, Service::prefetch, i * 160 * KiB, 160 * KiB)
                           : fake.write(i * 160 * KiB, 160 * KiB));
    batch.push_back(requests.back().get());
  }
  fake.device->hold();
  fake.engine->submit(batch);
  ASSERT_TRUE(fake.device->wait_started(5));
  fake.device->release();
  for (auto& request : requests) fake.engine->wait(*request);
  EXPECT_LE(fake.device->peak_bytes(Op::read), 200 * KiB);
  EXPECT_GE(fake.device->peak_bytes(Op::read), 150 * KiB);
  EXPECT_LE(fake.device->peak_bytes(Op::write), 128 * KiB);
  EXPECT_GE(fake.device->peak_bytes(Op::write), 100 * KiB);
}

TEST(QueueTest, OnePieceIsAllowedWhateverTheBudget) {
  FakeEngine fake({.block_size = 64 * KiB, .queue_depth = 8, .read_budget = 1, .write_budget = 1});
  auto read = fake.read(0, 512 * KiB);
  auto write = fake.write(MiB, 512 * KiB);
  Request* batch[] = {read.get(), write.get()};
  fake.engine->submit(batch);
  fake.engine->wait(*read);
  fake.engine->wait(*write);
  EXPECT_EQ(fake.device->peak_bytes(Op::read), 64 * KiB);
  EXPECT_EQ(fake.device->peak_bytes(Op::write), 64 * KiB);
  EXPECT_EQ(fake.device->started(), 16);
}

TEST(QueueTest, QueuedRequestsCanBeTakenBackStartedOnesNot) {
  FakeEngine fake({.block_size = 64 * KiB, .queue_depth = 1});
  fake.device->hold();
  auto started = fake.read(0, 128 * KiB);
  auto queued = fake.read(MiB, 64 * KiB);
  auto called = fake.read(2 * MiB, 64 * KiB);
  static std::atomic<int> calls;
  calls = 0;
  called->callback = [](Request& request, void*) {
    if (request.outcome().cancelled) ++calls;
  };
  fake.engine->submit(*started);
  ASSERT_TRUE(fake.device->wait_started(1));
  fake.engine->submit(*queued);
  fake.engine->submit(*called);
  EXPECT_FALSE(fake.engine->cancel(*started));
  EXPECT_TRUE(fake.engine->cancel(*queued));
  EXPECT_EQ(queued->state(), RequestState::done);
  EXPECT_TRUE(queued->outcome().cancelled);
  EXPECT_EQ(queued->outcome().error, ECANCELED);
  EXPECT_EQ(fake.engine->error_of(*queued).code(), Errc::cancelled);
  EXPECT_FALSE(fake.engine->cancel(*queued));
  EXPECT_TRUE(fake.engine->cancel(*called));
  fake.engine->wait(*called);
  EXPECT_EQ(calls, 1);
  fake.device->release();
  fake.engine->wait(*started);
  EXPECT_EQ(started->outcome().error, 0);
  EXPECT_EQ(fake.device->started(), 2);
  fake.run(*queued);  // may be used again
  EXPECT_EQ(queued->outcome().error, 0);
}

}  // namespace
}  // namespace spillway::io
