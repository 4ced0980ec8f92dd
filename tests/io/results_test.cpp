// What becomes of short transfers and errors.

#include <gtest/gtest.h>

#include "io/fake_engine.h"
#include "support/captured_log.h"

namespace spillway::io {
namespace {

TEST(ResultsTest, EveryShortLengthIsResumedAtAnAlignedOffset) {
  constexpr std::int64_t bytes = 16 * KiB;
  for (const Op op : {Op::read, Op::write}) {
    FakeEngine fake({.block_size = bytes, .queue_depth = 4});
    std::int64_t rounds = 0;
    for (std::int64_t moved = 0; moved < bytes; moved += moved % 4096 == 4095 ? 1 : 511) {
      std::byte* const source = op == Op::read ? fake.device->memory().data() : fake.arena.data();
      paint(source, bytes, static_cast<std::uint64_t>(moved));
      fake.device->plan([=](const FakeOp& one) { return one.number % 2 == 0 ? moved : one.bytes; });
      auto request = op == Op::read ? fake.read(0, bytes) : fake.write(0, bytes);
      fake.run(*request);
      ASSERT_EQ(request->outcome().error, 0) << moved;
      EXPECT_TRUE(fake.same(0, bytes)) << moved;
      ++rounds;
      ASSERT_EQ(fake.device->started(), 2 * rounds) << moved;
      const FakeOp last = fake.device->log().back();
      EXPECT_EQ(last.offset, align_down(moved, std::int64_t{4096}));
      EXPECT_EQ(last.offset + last.bytes, bytes);
    }
    EXPECT_EQ(fake.engine->stats().short_transfers, rounds);
  }
}

TEST(ResultsTest, ThreeTimesNoProgressEndsIt) {
  for (const Op op : {Op::read, Op::write}) {
    for (const std::int64_t odd : {0, 1, 4095}) {
      FakeEngine fake;
      fake.device->plan([=](const FakeOp& one) { return one.offset >= 8192 ? odd : 8192; });
      auto request = op == Op::read ? fake.read(0, 16 * KiB) : fake.write(0, 16 * KiB);
      fake.run(*request);
      EXPECT_TRUE(request->outcome().no_progress);
      EXPECT_NE(request->outcome().error, 0);
      EXPECT_EQ(request->outcome().done, 8192);
      EXPECT_EQ(fake.device->started(), 4);
      const Error error = fake.engine->error_of(*request);
      EXPECT_EQ(error.code(), op == Op::read ? Errc::corrupt : Errc::io_error) << error.what();
      EXPECT_TRUE(contains(error.what(), "fake file")) << error.what();
    }
  }
}

TEST(ResultsTest, ProgressStartsTheCountAnew) {
  FakeEngine fake;
  // Two attempts without progress before each page.
  fake.device->plan([](const FakeOp& one) { return one.number % 3 == 2 ? 4096 : 100; });
  auto request = fake.read(0, 16 * KiB);
  fake.run(*request);
  EXPECT_EQ(request->outcome().error, 0);
  EXPECT_EQ(fake.device->started(), 12);
}

TEST(ResultsTest, InterruptionsAndBusyDevicesAreRetried) {
  for (const int error : {EINTR, EAGAIN, EBUSY, ENOMEM}) {
    FakeEngine fake;
    fake.device->plan(
        [=](const FakeOp& one) { return one.number < 5 ? std::int64_t{-error} : one.bytes; });
    paint(fake.arena.data(), 16 * KiB, 9);
    auto request = fake.write(0, 16 * KiB);
    fake.run(*request);
    EXPECT_EQ(request->outcome().error, 0) << error;
    EXPECT_TRUE(fake.same(0, 16 * KiB));
    EXPECT_EQ(fake.engine->stats().retries, 5);
    EXPECT_EQ(fake.engine->stats().errors, 0);
  }
}

TEST(ResultsTest, ABusyRequestDoesNotHoldUpOthers) {
  FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 2, .retry_seconds = 1000});
  fake.device->plan(
      [](const FakeOp& one) { return one.offset < MiB ? std::int64_t{-EAGAIN} : one.bytes; });
  auto stuck = fake.read(0, 32 * KiB);  // two pieces: all the depth there is
  auto other = fake.read(MiB, 256 * KiB);
  fake.engine->submit(*stuck);
  fake.engine->submit(*other);
  fake.engine->wait(*other);
  EXPECT_EQ(other->outcome().error, 0);
  EXPECT_EQ(stuck->state(), RequestState::in_flight);
  fake.device->plan(nullptr);
  fake.engine->wait(*stuck);
  EXPECT_EQ(stuck->outcome().error, 0);
  EXPECT_GT(fake.engine->stats().retries, 1);
}

TEST(ResultsTest, RetriesEnd) {
  FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 2, .retry_seconds = 0.005});
  fake.device->plan([](const FakeOp&) { return std::int64_t{-EAGAIN}; });
  auto request = fake.read(0, 64 * KiB);
  fake.run(*request);
  EXPECT_EQ(request->outcome().error, EAGAIN);
  EXPECT_EQ(fake.engine->error_of(*request).code(), Errc::io_error);
  fake.device->plan(nullptr);
  fake.run(*request);
  EXPECT_EQ(request->outcome().error, 0);
}

TEST(ResultsTest, TheFirstErrorWinsAfterTheOthersHaveLanded) {
  FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 4});
  fake.device->hold();
  fake.device->plan([](const FakeOp& one) -> std::int64_t {
    if (one.offset == 32 * KiB) return -EIO;
    if (one.offset == 48 * KiB) return -ENOSPC;
    return one.bytes;
  });
  auto request = fake.write(0, 160 * KiB);
  fake.engine->submit(*request);
  ASSERT_TRUE(fake.device->wait_started(4));
  fake.device->release(3);
  // The fourth is still with the device: the request's memory is not free yet.
  EXPECT_THROW(fake.engine->wait(*request, deadline_in(0.02)), Error);
  fake.device->release();
  fake.engine->wait(*request);
  EXPECT_EQ(request->outcome().error, EIO);
  EXPECT_EQ(request->outcome().done, 32 * KiB);
  EXPECT_LE(fake.device->started(), 6);  // what was not cut is never started
  const Error error = fake.engine->error_of(*request);
  EXPECT_EQ(error.code(), Errc::io_error);
  for (const char* part : {"write", "163840 bytes", "offset 0", "fake file", "EIO", "dmesg"})
    EXPECT_TRUE(contains(error.what(), part)) << error.what();
  EXPECT_EQ(fake.engine->stats().errors, 1);
}

TEST(ResultsTest, ErrorsOfOneRequestLeaveOthersAlone) {
  for (const int errno_value : {EIO, ENOSPC, EDQUOT, EFBIG, EINVAL, EROFS, EFAULT, EPERM}) {
    FakeEngine fake({.block_size = 16 * KiB, .queue_depth = 4});
    fake.device->plan([=](const FakeOp& one) {
      return one.offset < 64 * KiB ? std::int64_t{-errno_value} : one.bytes;
    });
    auto bad = fake.write(0, 64 * KiB);
    auto good = fake.write(64 * KiB, 64 * KiB);
    Request* batch[] = {bad.get(), good.get()};
    const CapturedLog quiet;
    fake.engine->submit(batch);
    fake.engine->wait(*bad);
    fake.engine->wait(*good);
    EXPECT_EQ(bad->outcome().error, errno_value);
    EXPECT_EQ(bad->outcome().done, 0);
    EXPECT_EQ(good->outcome().error, 0);
    EXPECT_EQ(fake.engine->report().engine, "fake");  // EPERM of a transfer is not a lost ring
  }
}

}  // namespace
}  // namespace spillway::io
