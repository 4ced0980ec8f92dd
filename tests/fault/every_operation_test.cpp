// Whichever read or write of a step fails, on a real file system and on the fake: the step fails
// where it should, says where, loses nothing, and ends bit-equal when it is begun again.

#include <gtest/gtest.h>

#include <cerrno>

#include "fault/engine_loop.h"
#include "fault/faulty_disk.h"
#include "support/captured_log.h"

namespace spillway {
namespace {

using test::EngineLoop;
using test::error_of;
using test::FaultyDisk;

// Four tiles of two sections; the last tile has four slices.
const std::vector<std::int64_t> sizes{12288, 1, 600, 63, 2000};

struct Way {
  bool fuse = true;
  EngineChoice engine = EngineChoice::automatic;
  bool pipelined = true;
  bool checksums = true;
  bool attached = false;  // parameters in a swapper of their own, on the same disk
};

class EveryOperationTest : public ::testing::TestWithParam<Way> {
 protected:
  EveryOperationTest() {
    if (GetParam().fuse) {
      disk = std::make_unique<test::FuseFaultyDisk>();
    } else {
      disk = std::make_unique<test::FakeFaultyDisk>();
    }
  }
  void SetUp() override {
    if (!disk->missing().empty()) GTEST_SKIP() << disk->missing();
    context.emplace(disk->open(config()));
    std::unique_ptr<test::ParameterHome> home;
    if (GetParam().attached) {
      home = std::make_unique<test::SwappedParameters>(*context);
    } else {
      home = std::make_unique<test::EngineMemory>();
    }
    loop.emplace(*context, sizes, std::move(home));
    for (; step <= 2; ++step) good_step();  // everything is on the device
  }
  static Config config() {
    Config config = test::small_config(OffloadDevice::nvme, ".");
    OffloadOptimizerConfig& optimizer = config.offload_optimizer;
    // Two sections of 4096 elements, with a trailer where there are no checksums.
    optimizer.buffer_size = 32 * 1024 + (GetParam().checksums ? 0 : 8192);
    optimizer.pipeline_read = optimizer.pipeline_write = GetParam().pipelined;
    if (GetParam().attached) {
      config.offload_param.device = OffloadDevice::nvme;
      config.offload_param.buffer_count = 4;
      config.offload_param.buffer_size = 64 * 1024;
      config.offload_param.max_in_cpu = 0;
    }
    config.io.engine = GetParam().engine;
    config.io.checksums = GetParam().checksums;
    config.io.timeout = 60;
    return config;
  }
  void good_step() {
    loop->step(step);
    loop->twin.step(step);
  }
  void mend() {
    loop->home().settle();  // what was read ahead has failed by then, and is read again
    disk->mend();
  }
  std::int64_t retries() {
    return loop->swapper.stats().write_retries + loop->home().write_retries();
  }
  // A tile's error names it, its first parameter and the state; a parameter's, the parameter.
  static void expect_place(const std::string& text) {
    const bool tile = text.find("optimizer") != std::string::npos;
    EXPECT_TRUE(tile || GetParam().attached) << text;
    for (const char* word : {"tile", "state \""})
      EXPECT_EQ(text.find(word) != std::string::npos, tile) << word << ": " << text;
    for (const char* word : {"\"p", "offset", "spillway-"})
      EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
  }

  CapturedLog log;
  std::unique_ptr<FaultyDisk> disk;
  std::optional<Context> context;
  std::optional<EngineLoop> loop;
  std::int64_t step = 1;
};

TEST_P(EveryOperationTest, FailsOnce) {
  for (const int error : {EIO, ENOSPC}) {
    for (std::int64_t n = 0;; ++n, ++step) {
      SCOPED_TRACE("operation " + std::to_string(n) + ", errno " + std::to_string(error));
      const test::Twin before = loop->twin;
      const std::int64_t retried = retries();
      disk->rule({.from = n, .to = n + 1, .error = error});
      std::string text;
      const auto code = error_of([&] { loop->step(step); }, &text);
      const std::int64_t hits = disk->hits();
      mend();
      loop->twin.step(step);
      if (hits == 0) {
        EXPECT_FALSE(code) << text;
        EXPECT_GE(n, 16) << "a step reads and writes four tiles of two sections";
        ++step;
        break;
      }
      if (retries() > retried) {
        EXPECT_FALSE(code) << "a write is tried again elsewhere: " << text;
      } else if (code || !GetParam().attached) {
        EXPECT_EQ(code, error == EIO ? Errc::io_error : Errc::no_space) << text;
        expect_place(text);
        loop->expect_old_or_new(before, "after the failure");
        loop->step(step);
      }  // else it was a parameter that was read ahead: whoever wants it reads it again
      loop->expect_equal("after the step");
    }
  }
  good_step();
  loop->expect_equal("after one more");
}

TEST_P(EveryOperationTest, FailsFromTheNthOn) {
  for (const bool reads : {true, false}) {
    for (std::int64_t n = 0;; ++n, ++step) {
      SCOPED_TRACE((reads ? "reads from operation " : "writes from operation ") +
                   std::to_string(n));
      const test::Twin before = loop->twin;
      disk->rule({.reads = reads, .writes = !reads, .from = n, .error = reads ? EIO : ENOSPC});
      std::string text;
      const auto code = error_of([&] { loop->step(step); }, &text);
      loop->twin.step(step);
      if (disk->hits() == 0) {
        EXPECT_FALSE(code) << text;
        EXPECT_GT(n, 8);
        mend();
        ++step;
        break;
      }
      if (!code && reads && GetParam().attached) {  // read ahead, and then not wanted
        mend();
        loop->expect_equal("nothing failed");
        continue;
      }
      EXPECT_EQ(code, reads ? Errc::io_error : Errc::no_space) << text;
      expect_place(text);
      EXPECT_NE(error_of([&] { loop->step(step); }), std::nullopt) << "it fails still";
      mend();
      loop->expect_old_or_new(before, "before it is finished");
      loop->step(step);
      loop->expect_equal("when it is finished");
    }
  }
}

// A transfer that moves less than it was asked for goes on where it ended, if not for ever.
TEST_P(EveryOperationTest, IsShortOnce) {
  for (const std::int64_t bytes : {0, 1, 511, 4095, 4096, 4097, 12288, 16383}) {
    for (std::int64_t n = 0; n < 16; n += 3, ++step) {
      disk->rule({.from = n, .to = n + 1, .short_bytes = bytes});
      const auto code = error_of([&] { loop->step(step); });
      EXPECT_FALSE(code) << bytes << " bytes at operation " << n;
      mend();
      loop->twin.step(step);
    }
    loop->expect_equal("short by " + std::to_string(bytes));
  }
}

// All of them are: a page at a time is progress, less than that is none.
TEST_P(EveryOperationTest, IsAlwaysShort) {
  // FUSE makes an EIO of a short write that io_uring has asked for.
  const bool writes = !GetParam().fuse || GetParam().engine == EngineChoice::threads;
  disk->rule({.writes = writes, .short_bytes = 4096 + 700});
  good_step();
  EXPECT_GT(disk->hits(), 24);
  mend();
  loop->expect_equal("a page at a time");
  ++step;
  for (const bool reads : {true, false}) {
    const test::Twin before = loop->twin;
    disk->rule({.reads = reads, .writes = !reads, .short_bytes = 700});
    std::string text;
    EXPECT_EQ(error_of([&] { loop->step(step); }, &text), reads ? Errc::corrupt : Errc::io_error)
        << text;
    expect_place(text);
    mend();
    loop->twin.step(step);
    loop->expect_old_or_new(before, "no progress");
    loop->step(step);
    loop->expect_equal("after it");
    ++step;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Disks, EveryOperationTest,
    ::testing::Values(Way{}, Way{.engine = EngineChoice::threads, .pipelined = false},
                      Way{.checksums = false}, Way{.attached = true}, Way{.fuse = false},
                      Way{.fuse = false, .pipelined = false, .checksums = false},
                      Way{.fuse = false, .attached = true},
                      Way{.fuse = false, .pipelined = false, .checksums = false, .attached = true}),
    [](const auto& way) {
      const Way& of = way.param;
      return std::string(of.fuse ? "fuse" : "fake") +
             (of.engine == EngineChoice::threads ? "_threads" : "") +
             (of.pipelined ? "" : "_unpipelined") + (of.checksums ? "" : "_trailers") +
             (of.attached ? "_attached" : "");
    });

}  // namespace
}  // namespace spillway
