#include "sys/ring.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/align.h"
#include "base/clock.h"
#include "support/page_memory.h"
#include "support/temporary_file.h"
#include "sys/limits.h"

namespace spillway::sys {
namespace {

class RingTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string why;
    ring = std::make_unique<Ring>(Ring::Options{.depth = 4, .poll_wait = GetParam()});
    if (ring->open(why) != 0) GTEST_SKIP() << why;
  }
  RingResult one(std::int64_t timeout_ns = -1) {
    std::vector<RingResult> results(8);
    std::size_t count = 0;
    for (int i = 0; i < 100 && count == 0; ++i)
      EXPECT_EQ(ring->wait(results, count, timeout_ns), 0);
    EXPECT_EQ(count, 1u);
    return results[0];
  }
  std::unique_ptr<Ring> ring;
};
INSTANTIATE_TEST_SUITE_P(Waits, RingTest, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "Poll" : "Enter"; });

TEST_P(RingTest, MovesBytesByDescriptorAndBySlot) {
  const UniqueFd fd = temporary_file(64 * KiB);
  const PageMemory memory(8192);
  const int slot = ring->add_file(fd.get());
  std::memset(memory.data(), 5, 4096);
  ring->start({.write = true,
               .fd = fd.get(),
               .data = memory.data(),
               .offset = 4096,
               .bytes = 4096,
               .tag = memory.data()});
  EXPECT_EQ(one().result, 4096);
  ring->start({.fd = fd.get(),
               .slot = slot,
               .data = memory.data() + 4096,
               .offset = 4096,
               .bytes = 4096,
               .tag = memory.data()});
  const RingResult read = one();
  EXPECT_EQ(read.result, 4096);
  EXPECT_EQ(read.tag, memory.data());
  EXPECT_EQ(std::memcmp(memory.data(), memory.data() + 4096, 4096), 0);
  ring->start({.write = true,
               .dsync = true,
               .fd = fd.get(),
               .slot = slot,
               .data = memory.data(),
               .offset = 0,
               .bytes = 4096,
               .tag = memory.data()});
  EXPECT_EQ(one().result, 4096);
  ring->remove_file(slot);
  EXPECT_EQ(ring->add_file(fd.get()), slot);
}

TEST_P(RingTest, SlotsRunOut) {
  const UniqueFd fd = temporary_file(4096);
  int slots = 0;
  while (slots < 1000 && ring->add_file(fd.get()) >= 0) ++slots;
  EXPECT_GE(slots, 8);
  EXPECT_LT(slots, 1000);
}

TEST_P(RingTest, WaitEndsByTimeAndByWake) {
  std::vector<RingResult> results(4);
  std::size_t count = 7;
  const TimePoint from = Clock::now();
  EXPECT_EQ(ring->wait(results, count, 5'000'000), 0);
  EXPECT_EQ(count, 0u);
  EXPECT_GE(seconds_between(from, Clock::now()), 0.004);
  for (int i = 0; i < 3; ++i) {
    ring->wake();
    ring->wake();
    EXPECT_EQ(ring->wait(results, count, -1), 0);
    EXPECT_EQ(count, 0u);
  }
}

// The same 64 MiB again and again: as many addresses as wanted for little memory.
class RepeatedMemory {
 public:
  explicit RepeatedMemory(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
    const UniqueFd fd{::memfd_create("spillway-test", MFD_CLOEXEC)};
    EXPECT_EQ(::ftruncate(fd.get(), part), 0);
    at_ = ::mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (std::int64_t from = 0; from < bytes; from += part)
      EXPECT_NE(::mmap(static_cast<std::byte*>(at_) + from,
                       static_cast<std::size_t>(std::min(part, bytes - from)),
                       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd.get(), 0),
                MAP_FAILED);
  }
  ~RepeatedMemory() { ::munmap(at_, bytes_); }
  RepeatedMemory(const RepeatedMemory&) = delete;
  RepeatedMemory& operator=(const RepeatedMemory&) = delete;
  std::span<std::byte> span() const { return {static_cast<std::byte*>(at_), bytes_}; }

 private:
  static constexpr std::int64_t part = 64 * MiB;
  std::size_t bytes_;
  void* at_ = nullptr;
};

TEST_P(RingTest, MemoryOverTheKernelsLimitIsRegisteredInParts) {
  const RepeatedMemory memory(GiB + 2 * MiB);  // the kernel takes at most 1 GiB in one buffer
  std::string why;
  if (!memory_limits().memlock_exempt) GTEST_SKIP() << "needs the right to lock 1 GiB";
  ASSERT_EQ(ring->add_memory(memory.span(), why), 0) << why;
  const UniqueFd fd = temporary_file(64 * KiB);
  // Inside the first part, inside the second, and across the cut between them.
  for (const std::int64_t at : {std::int64_t{0}, GiB + MiB, GiB - 4096}) {
    std::memset(memory.span().data() + at, 9, 8192);
    ring->start({.write = true,
                 .fd = fd.get(),
                 .data = memory.span().data() + at,
                 .offset = 0,
                 .bytes = 8192,
                 .tag = ring.get()});
    EXPECT_EQ(one().result, 8192) << at;
  }
  ring->remove_memory(memory.span());
}

TEST_P(RingTest, MemoryIsRegisteredAndGivenBack) {
  const PageMemory memory(2 * MiB);
  std::string why;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(ring->add_memory(memory.span(), why), 0) << why;
    ring->remove_memory(memory.span());
  }
  // What is not mapped cannot be registered, and leaves nothing behind.
  auto* const nowhere = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 46);
  EXPECT_EQ(ring->add_memory({nowhere, 4096}, why), EFAULT);
  EXPECT_NE(why.find("4096 bytes"), std::string::npos) << why;
}

TEST_P(RingTest, TheKernelTellsWhenTheRingIsGone) {
  const UniqueFd fd = temporary_file(64 * KiB);
  const PageMemory memory(64 * KiB);
  EXPECT_FALSE(ring->gone(0));
  ring->start({.fd = fd.get(),
               .data = memory.data(),
               .offset = 0,
               .bytes = 64 * KiB,
               .tag = memory.data()});
  std::vector<RingResult> results(4);
  std::size_t count = 0;
  EXPECT_EQ(ring->wait(results, count, 0), 0);
  ring->close();
  EXPECT_TRUE(ring->gone(10'000'000'000));
  EXPECT_TRUE(ring->gone(0));
  ring->close();
  ring->wake();
}

TEST_P(RingTest, NoDescriptorIsLeftBehind) {
  ring.reset();
  const int before = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    std::string why;
    Ring other({.depth = 8, .poll_wait = GetParam()});
    ASSERT_EQ(other.open(why), 0) << why;
  }
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace spillway::sys
