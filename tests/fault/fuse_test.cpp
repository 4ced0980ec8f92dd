// A real file system that is slow, silent, gone, or fails late.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "fault/engine_loop.h"
#include "support/captured_log.h"
#include "support/fuse_disk.h"
#include "swap/contents.h"

namespace spillway {
namespace {

using test::EngineLoop;
using test::error_of;
using test::FuseDisk;
using testing::HasSubstr;

class FuseTest : public ::testing::TestWithParam<EngineChoice> {
 protected:
  explicit FuseTest(FuseDisk::Cache cache = FuseDisk::Cache::none) : disk(cache) {}
  void SetUp() override {
    if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  }
  Config config() const {
    Config config = test::small_config(OffloadDevice::nvme, disk.path());
    config.io.engine = GetParam();
    config.io.timeout = 30;
    return config;
  }
  void open(const Config& config) {
    context.emplace(config);
    loop.emplace(*context, std::vector<std::int64_t>{50'000, 12, 9000});
    step(1);
    step(2);
  }
  void step(std::int64_t n) {
    loop->step(n);
    loop->twin.step(n);
  }

  CapturedLog log;
  FuseDisk disk;
  std::optional<Context> context;
  std::optional<EngineLoop> loop;
};

TEST_P(FuseTest, ASlowDeviceIsWaitedFor) {
  open(config());
  disk.rule({.delay_us = 3000});
  step(3);
  EXPECT_GT(disk.hits(), 10);
  disk.mend();
  loop->expect_equal("after a slow step");
}

// Calls come back with the list of what is in flight, and the step goes on when the device does.
TEST_P(FuseTest, ASilentDeviceTimesOutAndRecovers) {
  Config impatient = config();
  impatient.io.timeout = 1;
  open(impatient);
  disk.rule({.hold = true});
  std::string text;
  EXPECT_EQ(error_of([&] { loop->step(3); }, &text), Errc::timeout);
  EXPECT_THAT(text, HasSubstr("in flight: "));
  EXPECT_THAT(text, HasSubstr(disk.path().string()));
  EXPECT_EQ(error_of([&] { loop->step(3); }), Errc::timeout);
  disk.mend();
  // What was held is answered in its own time: the old run must be over first.
  while (error_of([&] { loop->step(3); }) == Errc::timeout) std::this_thread::yield();
  loop->twin.step(3);
  loop->expect_equal("after the silence");
}

// Destruction gives the device up after its timeout. Nothing it may still write to is given back.
TEST_P(FuseTest, DestructionOnADeviceThatNeverAnswers) {
  Config impatient = config();
  impatient.io.timeout = impatient.io.shutdown_timeout = 1;
  open(impatient);
  disk.rule({.hold = true});
  EXPECT_EQ(error_of([&] { loop->step(3); }), Errc::timeout);
  loop.reset();
  context.reset();
  std::string said;
  for (const std::string& line : log.lines()) said += line + "\n";
  EXPECT_THAT(said, HasSubstr("did not answer"));
}

TEST_P(FuseTest, ADeviceThatGoesAwayIsATypedError) {
  open(config());
  disk.die();
  std::string text;
  EXPECT_EQ(error_of([&] { loop->step(3); }, &text), Errc::io_error) << text;
  EXPECT_THAT(text, HasSubstr(disk.path().string()));
  EXPECT_EQ(error_of([&] { loop->step(3); }), Errc::io_error);
  std::vector<float> m(10);
  EXPECT_EQ(error_of([&] { loop->swapper.read_state<float>(loop->ids[0], "m", 0, std::span(m)); }),
            Errc::io_error);
  EXPECT_EQ(error_of([&] { loop->swapper.add("more", 1'000'000); }), Errc::io_error);
  loop.reset();
  context.reset();
}

// Allocation fails although statfs promised room: at add, with everything named.
TEST_P(FuseTest, AllocationThatFailsIsNoSpaceAtAdd) {
  open(config());
  disk.rule({.kinds = test::fuse_allocate, .error = ENOSPC});
  std::string text;
  EXPECT_EQ(error_of([&] { loop->swapper.add("late", 100'000); }, &text), Errc::no_space);
  for (const std::string& word : {std::string("\"late\""), disk.path().string()})
    EXPECT_THAT(text, HasSubstr(word));
  disk.mend();
  step(3);
  loop->swapper.add("late", 100'000);
  loop->expect_equal("after the refusal");
}

// The probe and the first writes meet the fault: no context, or no swapper, and nothing left.
TEST_P(FuseTest, ConstructionFailsCleanlyWhicheverOperationFails) {
  for (std::int64_t n = 0;; ++n) {
    disk.rule({.kinds = test::fuse_read | test::fuse_write | test::fuse_allocate,
               .from = n,
               .to = n + 1,
               .error = EIO});
    std::string text;
    const auto code = error_of(
        [&] {
          Context made(config());
          OptimizerSwapper swapper(made, {.states = {{"m"}}});
          swapper.add("p", 10'000);
        },
        &text);
    if (disk.hits() == 0) break;
    if (code) {  // else the probe turned it into buffered I/O
      EXPECT_EQ(code, Errc::io_error) << "operation " << n << ": " << text;
      EXPECT_THAT(text, HasSubstr(disk.path().string()));
    }
    disk.mend();
    EXPECT_TRUE(std::filesystem::is_empty(disk.path())) << "operation " << n;
  }
}

class CachedFuseTest : public FuseTest {
 protected:
  CachedFuseTest() : FuseTest(test::FuseDisk::Cache::write_back) {}
};

// Buffered, the page cache takes the bytes, and the device's error comes when they are flushed:
// with RWF_DSYNC it is the write's own, and no surprise after the step.
TEST_P(CachedFuseTest, AnErrorBehindThePageCacheIsTheWritesOwn) {
  Config buffered = config();
  buffered.io.direct = Switch::off;
  open(buffered);
  for (const int kind : {test::fuse_write, test::fuse_sync}) {
    const std::int64_t step_number = 3 + (kind == test::fuse_sync);
    const test::Twin before = loop->twin;
    disk.rule({.kinds = kind, .error = EIO});
    std::string text;
    EXPECT_EQ(error_of([&] { loop->step(step_number); }, &text), Errc::io_error) << text;
    EXPECT_THAT(text, HasSubstr("write"));
    EXPECT_GT(disk.hits(), 0);
    disk.mend();
    loop->twin.step(step_number);
    loop->expect_old_or_new(before, "after the failure");
    loop->step(step_number);
    loop->expect_equal("on a disk that is well again");
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, CachedFuseTest,
                         ::testing::Values(EngineChoice::automatic, EngineChoice::threads),
                         [](const auto& engine) {
                           return engine.param == EngineChoice::threads ? "threads" : "automatic";
                         });
INSTANTIATE_TEST_SUITE_P(Engines, FuseTest,
                         ::testing::Values(EngineChoice::automatic, EngineChoice::threads),
                         [](const auto& engine) {
                           return engine.param == EngineChoice::threads ? "threads" : "automatic";
                         });

}  // namespace
}  // namespace spillway
