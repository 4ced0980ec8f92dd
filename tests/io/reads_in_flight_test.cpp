// While the device owns the memory of a read, AddressSanitizer reports whoever touches it: it sees
// no store of the kernel's, so that without this a buffer that is used too early goes unnoticed.

#include "io/reads_in_flight.h"

#ifdef SPILLWAY_ASAN

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>

#include "io/fake_engine.h"
#include "io/ring_backend.h"

namespace spillway::io {
namespace {

// A read from a pipe ends when the test writes.
class ReadsInFlightDeathTest : public ::testing::Test {
 protected:
  ReadsInFlightDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  void SetUp() override {
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    EngineReport report;
    std::string why;
    if (ring.open(4, report, why) != 0) GTEST_SKIP() << why;
    file.spec.fd = ends[0];
    file.spec.name = "a pipe";
    piece.file = &file;
    piece.data = memory.data();
    piece.bytes = memory.bytes();
  }
  void TearDown() override {
    for (const int end : ends) ::close(end);
  }
  std::size_t reap(std::int64_t timeout_ns) {
    std::size_t count = 0;
    EXPECT_EQ(ring.reap(done, count, timeout_ns), 0);
    return count;
  }

  std::array<int, 2> ends{-1, -1};
  PageMemory memory{4096};
  DataFile file;
  Piece piece;
  RingBackend ring{false, 1};
  std::array<Completion, 4> done;
};

TEST_F(ReadsInFlightDeathTest, TheRingOwnsItFromStartToReap) {
  volatile std::byte* const at = memory.data();
  at[0] = std::byte{1};
  ring.start(piece);
  ASSERT_EQ(reap(0), 0u);
  EXPECT_DEATH(at[0] = std::byte{2}, "use-after-poison");
  EXPECT_DEATH(static_cast<void>(at[4095]), "use-after-poison");
  const std::string bytes(4096, 'x');
  ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), 4096);
  EXPECT_DEATH(at[0] = std::byte{2}, "use-after-poison") << "it has not been told to us yet";
  ASSERT_EQ(reap(-1), 1u);
  EXPECT_EQ(done[0].result, 4096);
  EXPECT_EQ(std::byte(at[4095]), std::byte{'x'});
}

// What is taken over by another back-end, or kept for ever, must not stay marked.
TEST_F(ReadsInFlightDeathTest, ARingThatIsClosedOwnsNothing) {
  volatile std::byte* const at = memory.data();
  ring.start(piece);
  ASSERT_EQ(reap(0), 0u);
  EXPECT_DEATH(at[0] = std::byte{2}, "use-after-poison");
  ring.close();
  at[0] = std::byte{3};
  EXPECT_EQ(std::byte(at[0]), std::byte{3});
}

TEST_F(ReadsInFlightDeathTest, WhatIsWrittenMayBeLookedAt) {
  file.spec.fd = ends[1];
  piece.op = Op::write;
  volatile std::byte* const at = memory.data();
  at[7] = std::byte{5};
  ring.start(piece);
  EXPECT_EQ(std::byte(at[7]), std::byte{5});
  ASSERT_EQ(reap(-1), 1u);
}

TEST_F(ReadsInFlightDeathTest, TheFakeDoesAsTheRing) {
  FakeEngine fake;
  fake.device->hold();
  const auto read = fake.read(0, 4096);
  fake.engine->submit(*read);
  ASSERT_TRUE(fake.device->wait_started(1));
  volatile std::byte* const at = fake.arena.data();
  EXPECT_DEATH(at[0] = std::byte{2}, "use-after-poison");
  fake.device->release();
  fake.engine->wait(*read);
  at[0] = std::byte{2};
}

}  // namespace
}  // namespace spillway::io

#endif
