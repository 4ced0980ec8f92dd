// Opening, waiting, losing a back-end, shutting down; also on a device that never answers.

#include <gtest/gtest.h>

#include <thread>

#include "io/fake_engine.h"
#include "support/captured_log.h"

namespace spillway::io {
namespace {

TEST(LifeTest, ARefusedBackendIsReplacedAndTheReportSaysWhy) {
  CapturedLog logged;
  auto device = std::make_shared<FakeDevice>(MiB);
  device->refuse_open(EPERM);
  Engine engine(std::make_unique<FakeBackend>(device), {});
  EXPECT_EQ(engine.report().engine, "fake threads");
  ASSERT_EQ(engine.report().reasons.size(), 1u);
  EXPECT_EQ(engine.report().reasons[0], "the fake refuses");
  ASSERT_EQ(logged.lines().size(), 1u);
  EXPECT_TRUE(contains(logged.lines()[0], "the fake refuses")) << logged.lines()[0];
}

TEST(LifeTest, ADemandedBackendIsNotReplaced) {
  auto device = std::make_shared<FakeDevice>(MiB);
  device->refuse_open(EPERM);
  const Error error = thrown([&] {
    Engine engine(std::make_unique<FakeBackend>(device), {.engine = EngineChoice::io_uring});
  });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_TRUE(contains(error.what(), "the fake refuses")) << error.what();
}

TEST(LifeTest, WaitsRunOutAndListWhatIsInFlight) {
  FakeEngine fake;
  fake.device->hold();
  std::vector<std::unique_ptr<Request>> requests;
  for (std::int64_t i = 0; i < 6; ++i) {
    requests.push_back(fake.read(i * 64 * KiB, 16 * KiB));
    fake.engine->submit(*requests.back());
  }
  ASSERT_TRUE(fake.device->wait_started(4));
  const Error error = thrown([&] { fake.engine->wait(*requests[0], deadline_in(0.01)); });
  EXPECT_EQ(error.code(), Errc::timeout);
  EXPECT_TRUE(contains(error.what(), "4 in flight: read 16.0 KiB at 0 of fake file ("))
      << error.what();
  EXPECT_TRUE(contains(error.what(), "at 196608 of fake file")) << error.what();
  EXPECT_FALSE(contains(error.what(), "at 262144")) << error.what();  // only queued
  fake.device->release();
  for (auto& request : requests) fake.engine->wait(*request);
  EXPECT_EQ(fake.engine->describe_in_flight(), "0 in flight");
}

TEST(LifeTest, LongListsAreCut) {
  FakeEngine fake({.block_size = 4 * KiB, .queue_depth = 32});
  fake.device->hold();
  std::vector<std::unique_ptr<Request>> requests;
  for (std::int64_t i = 0; i < 20; ++i) {
    requests.push_back(fake.read(i * 4 * KiB, 4 * KiB));
    fake.engine->submit(*requests.back());
  }
  ASSERT_TRUE(fake.device->wait_started(20));
  const std::string text = fake.engine->describe_in_flight();
  EXPECT_TRUE(contains(text, "20 in flight: ")) << text;
  EXPECT_TRUE(text.ends_with(", ...")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '('), 16);
  fake.device->release();
  for (auto& request : requests) fake.engine->wait(*request);
}

TEST(LifeTest, ALostBackendHoldsItsRequestsUntilItHasLetGo) {
  CapturedLog logged;
  FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 4});
  fake.device->take_memory(true);
  EXPECT_EQ(fake.engine->add_memory(fake.arena.span()), fake.arena.bytes());
  paint(fake.arena.data(), MiB, 4);
  fake.device->let_go(false);
  fake.device->hold();
  fake.device->lose_after(3, EPERM);
  auto flying = fake.write(0, 48 * KiB);  // its three pieces are with the device when it is lost
  auto queued = fake.write(512 * KiB, 64 * KiB);
  fake.engine->submit(*flying);
  ASSERT_TRUE(fake.device->wait_started(3 + 3));  // done again
  fake.device->release();
  fake.engine->submit(*queued);
  fake.engine->wait(*queued);
  EXPECT_EQ(queued->outcome().error, 0);
  // Its bytes are there, but the old back-end might still read its memory.
  EXPECT_TRUE(fake.same(0, 48 * KiB));
  EXPECT_THROW(fake.engine->wait(*flying, deadline_in(0.02)), Error);
  EXPECT_EQ(flying->state(), RequestState::in_flight);
  EXPECT_TRUE(contains(fake.engine->describe_in_flight(), "write 48.0 KiB at 0"));
  fake.device->let_go(true);
  fake.engine->wait(*flying);
  EXPECT_EQ(flying->outcome().error, 0);
  EXPECT_TRUE(fake.same(0, 48 * KiB));
  EXPECT_TRUE(fake.same(512 * KiB, 64 * KiB));

  const EngineReport report = fake.engine->report();
  EXPECT_EQ(report.engine, "fake threads");
  ASSERT_EQ(report.reasons.size(), 1u);
  EXPECT_TRUE(contains(report.reasons[0], "EPERM")) << report.reasons[0];
  EXPECT_EQ(logged.lines().size(), 1u);
  EXPECT_EQ(fake.engine->stats().registered_bytes, 0);
  fake.engine->remove_memory(fake.arena.span());
}

TEST(LifeTest, LostAtEveryPoint) {
  CapturedLog logged;
  for (std::int64_t point = 1; point <= 40; ++point) {
    FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 4});
    fake.device->shuffle(static_cast<unsigned>(point));
    fake.device->lose_after(point, ENOSYS);
    paint(fake.arena.data(), MiB, static_cast<std::uint64_t>(point));
    std::vector<std::unique_ptr<Request>> requests;
    std::vector<Request*> batch;
    for (std::int64_t i = 0; i < 8; ++i) {
      requests.push_back(fake.write(i * 80 * KiB, 80 * KiB));
      batch.push_back(requests.back().get());
    }
    fake.engine->submit(batch);
    for (auto& request : requests) {
      fake.engine->wait(*request);
      EXPECT_EQ(request->outcome().error, 0);
    }
    EXPECT_TRUE(fake.same(0, 640 * KiB));
    EXPECT_EQ(fake.engine->report().engine, "fake threads");
  }
}

TEST(LifeTest, ADeadDeviceIsAbandonedAndNamed) {
  CapturedLog logged;
  FakeEngine fake;
  fake.device->hold();
  auto stuck = fake.write(64 * KiB, 128 * KiB);
  auto queued = fake.read(MiB, 16 * KiB);
  fake.engine->submit(*stuck);
  ASSERT_TRUE(fake.device->wait_started(4));
  fake.engine->submit(*queued);
  std::thread waiter([&] {
    const Error error = thrown([&] { fake.engine->wait(*stuck); });
    EXPECT_EQ(error.code(), Errc::shut_down) << error.what();
  });
  const ShutdownResult result = fake.engine->shutdown(0.02);
  waiter.join();
  EXPECT_FALSE(result.clean);
  ASSERT_EQ(result.abandoned.size(), 1u);
  EXPECT_TRUE(contains(result.abandoned[0], "write 128.0 KiB at 65536 of fake file"))
      << result.abandoned[0];
  EXPECT_TRUE(queued->outcome().cancelled);
  EXPECT_FALSE(fake.engine->shutdown(0).clean);
  EXPECT_EQ(thrown([&] { fake.engine->submit(*queued); }).code(), Errc::shut_down);
  EXPECT_TRUE(contains(fake.engine->describe_in_flight(), "1 in flight"));
  fake.engine->remove_file(fake.file);
  EXPECT_FALSE(logged.lines().empty());
  // A late answer must not touch the request any more: it may be gone.
  stuck.reset();
  fake.device->release();
}

TEST(LifeTest, ShutdownWaitsForWhatIsInFlight) {
  FakeEngine fake;
  fake.device->hold();
  auto slow = fake.write(0, 128 * KiB);
  fake.engine->submit(*slow);
  ASSERT_TRUE(fake.device->wait_started(4));
  std::thread later([&] { fake.device->release(); });
  EXPECT_TRUE(fake.engine->shutdown(20).clean);
  later.join();
  EXPECT_EQ(slow->outcome().error, 0);
}

TEST(LifeTest, ACallThatHangsDoesNotHangShutdown) {
  CapturedLog logged;
  auto fake = std::make_unique<FakeEngine>();
  std::atomic<bool> inside{false}, leave{false};
  std::thread caller([&] {
    fake->engine->call([&] {
      inside = true;
      while (!leave) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  });
  while (!inside) std::this_thread::yield();
  EXPECT_FALSE(fake->engine->shutdown(0.01).clean);
  leave = true;
  caller.join();
}

TEST(LifeTest, RegistrationIsRetriedWhileTheLimitIsGivenBack) {
  FakeEngine fake;
  fake.device->take_memory(true);
  fake.device->refuse_memory(2, ENOMEM);
  EXPECT_EQ(fake.engine->add_memory(fake.arena.span()), fake.arena.bytes());
  fake.device->refuse_memory(1000000, ENOMEM);
  EXPECT_EQ(fake.engine->add_memory(fake.arena.span().first(4096)), 0);
  ASSERT_FALSE(fake.engine->report().reasons.empty());
  EXPECT_EQ(fake.engine->report().reasons.back(), "the fake refuses memory");
  EXPECT_EQ(fake.engine->stats().registered_bytes, fake.arena.bytes());
}

}  // namespace
}  // namespace spillway::io
