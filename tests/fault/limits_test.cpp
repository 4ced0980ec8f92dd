// What the machine refuses: every refusal is a clear error with nothing left behind, or a run that
// is slower, says so, and gives the same bits.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

#include "fault/job.h"
#include "fault/process_state.h"
#include "support/captured_log.h"
#include "support/child_process.h"
#include "support/loop_mount.h"
#include "support/memory_group.h"
#include "support/seccomp.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using test::Job;
using testing::HasSubstr;

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

/// A whole life of a job: "" if it went well, else what differs.
std::string train(const Config& config) {
  Context context(config);
  Job job(context);
  job.load();
  for (std::int64_t n = 1; n <= 2; ++n) job.step(n);
  job.weights.flush();
  return job.difference();
}

/// What the error is, if it is one.
std::string outcome_of(const Config& config) {
  try {
    return train(config);
  } catch (const Error& error) {
    return fmt::format("{}: {}", to_string(error.code()), error.what());
  }
}

class LimitsTest : public testing::Test {
 protected:
  Config config() const { return test::job_config(scratch.path()); }
  // UBSan looks at the type of an object through a pipe, and calls it wrong when it gets none. What
  // it has seen once it does not look at again.
  void show_types() const {
    if (!test::sanitized) return;
    for (const EngineChoice engine : {EngineChoice::automatic, EngineChoice::threads}) {
      Config seen = config();
      seen.io.engine = engine;
      EXPECT_EQ(outcome_of(seen), "");
    }
    try {
      throw Error(Errc::busy, "seen");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::busy);
    }
  }
  test::Scratch scratch;
};

// From none left to enough: an error that says how to raise the limit, or a run with the right
// bits; nothing is left in either case. Sixteen in all, three of them taken, are enough.
TEST_F(LimitsTest, FewOpenFiles) {
  show_types();
  for (rlim_t most = 4; most <= 24; ++most) {
    const ChildEnd end = in_child([&]() -> std::string {
      const CapturedLog log;
      // The pipe to the parent and whatever the test was started with stand above the limit.
      const std::set<int> before = test::descriptors();
      for (const int fd : before)
        if (fd > 2 && fd < 200) ::fcntl(fd, F_DUPFD_CLOEXEC, 200);
      const rlimit limit{most, most};
      if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return "no limit";
      const std::string said = outcome_of(config());
      return said.empty() ? "well" : said;
    });
    EXPECT_TRUE(end.clean()) << end.status;
    EXPECT_TRUE(scratch.empty()) << "left something after: " << end.said;
    if (end.said == "well") continue;
    EXPECT_THAT(end.said, HasSubstr("RLIMIT_NOFILE")) << most;
    EXPECT_THAT(end.said, HasSubstr("ulimit -n")) << most;
  }
}

TEST_F(LimitsTest, SixteenOpenFilesAreEnoughOrTheErrorNamesTheLimit) {
  show_types();
  const ChildEnd end = in_child([&]() -> std::string {
    const CapturedLog log;
    const rlimit limit{16, 16};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return "no limit";
    const std::string said = outcome_of(config());
    return said.empty() ? "well" : said;
  });
  EXPECT_TRUE(end.clean()) << end.status;
  EXPECT_TRUE(scratch.empty()) << "left something after: " << end.said;
  if (end.said != "well") {
    EXPECT_THAT(end.said, HasSubstr("RLIMIT_NOFILE"));
  }
}

// Pinning that the user may not have: a run that says so once per pool, or, where it was required,
// an error with the need and the command.
TEST_F(LimitsTest, NoLockedMemory) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming an ordinary user needs root";
  ASSERT_EQ(::chmod(scratch.path().c_str(), 0777), 0);
  for (const bool required : {false, true}) {
    const ChildEnd end = in_child([&]() -> std::string {
      const CapturedLog log;
      limit_locked_memory(0);
      become_nobody();
      Config pinned = config();
      pinned.offload_optimizer.pin_memory = pinned.offload_param.pin_memory = true;
      pinned.io.require_pinned = required;
      const std::string said = outcome_of(pinned);
      if (!scratch.empty()) return "left something after: " + said;
      return (said.empty() ? "well" : said) + "\n" + joined(log.lines());
    });
    EXPECT_TRUE(end.clean()) << end.status;
    if (end.said.find("cannot open nvme_path") != std::string::npos ||
        end.said.find("does not exist") != std::string::npos)
      GTEST_SKIP() << "the current directory is closed to other users";
    if (required) {
      EXPECT_THAT(end.said, testing::StartsWith("memlock_limit: "));
      EXPECT_THAT(end.said, HasSubstr("require_pinned"));
    } else {
      EXPECT_THAT(end.said, testing::StartsWith("well\n"));
      EXPECT_THAT(end.said, HasSubstr("going on with memory that is not locked"));
    }
    EXPECT_THAT(end.said, HasSubstr("RLIMIT_MEMLOCK"));
    EXPECT_THAT(end.said, HasSubstr("ulimit -l"));
  }
}

// A machine, here an address space, that is smaller than the pool: refused by the plan, with the
// sum, before anything is allocated; what fits still works in the same process.
TEST_F(LimitsTest, AnAddressSpaceSmallerThanThePool) {
  if (test::sanitized) GTEST_SKIP() << "sanitizers reserve terabytes of addresses";
  const ChildEnd end = in_child([&]() -> std::string {
    const CapturedLog log;
    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    const rlim_t most = pages * 4096 + (256u << 20);
    const rlimit limit{most, most};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return "no limit";
    Config large = config();
    large.offload_optimizer.buffer_size = 1 << 30;
    const std::string said = outcome_of(large);
    const std::string after = outcome_of(config());
    return said + "\nafterwards: " + (after.empty() ? "well" : after);
  });
  EXPECT_TRUE(end.clean()) << end.status;
  EXPECT_THAT(end.said, testing::StartsWith("does_not_fit: "));
  EXPECT_THAT(end.said, HasSubstr("pool 3.0 GiB"));
  EXPECT_THAT(end.said, HasSubstr("RLIMIT_AS"));
  EXPECT_THAT(end.said, HasSubstr("lower buffer_count"));
  EXPECT_THAT(end.said, testing::EndsWith("afterwards: well"));
  EXPECT_TRUE(scratch.empty());
}

TEST_F(LimitsTest, AMemoryGroupSmallerThanThePool) {
  if (test::sanitized) GTEST_SKIP() << "a sanitizer's shadow alone fills the group";
  const MemoryGroup group;
  if (!group.made()) GTEST_SKIP() << "no memory control group can be made here";
  const ChildEnd end = in_child([&]() -> std::string {
    const CapturedLog log;
    if (!group.enter()) return "no way into the group";
    Config large = config();
    large.offload_optimizer.buffer_size = 100 << 20;
    const std::string said = outcome_of(large);
    const std::string after = outcome_of(config());
    return said + "\nafterwards: " + (after.empty() ? "well" : after);
  });
  EXPECT_TRUE(end.clean()) << "the kernel's killer came first? status " << end.status;
  EXPECT_THAT(end.said, testing::StartsWith("does_not_fit: "));
  EXPECT_THAT(end.said, HasSubstr("left in cgroup"));
  EXPECT_THAT(end.said, HasSubstr("spillway-test-"));
  EXPECT_THAT(end.said, testing::EndsWith("afterwards: well"));
  EXPECT_TRUE(scratch.empty());
}

// ---- io_uring that is not there

class RingTest : public LimitsTest {};

TEST_F(RingTest, Absent) {
  for (const int error : {ENOSYS, EPERM}) {
    const ChildEnd end = in_child([&]() -> std::string {
      const CapturedLog log;
      if (deny_system_call(SYS_io_uring_setup, error) != 0) return "no filter";
      Context context(config());
      Job job(context);
      job.load();
      job.step(1);
      const ContextStats stats = context.stats();
      return job.difference() + stats.engine + ": " + joined(stats.engine_reasons) +
             joined(log.lines());
    });
    EXPECT_TRUE(end.clean()) << end.status;
    EXPECT_THAT(end.said, testing::StartsWith("threads: "));
    EXPECT_THAT(end.said, HasSubstr("io_uring"));
  }
}

// The first context has its ring; then the process is denied another one. The second context runs
// on threads and says so, the first one goes on.
TEST_F(RingTest, DeniedForTheSecondContext) {
  const ChildEnd end = in_child([&]() -> std::string {
    const CapturedLog log;
    Context first(config());
    Job one(first);
    one.load();
    one.step(1);
    if (first.stats().engine != "io_uring") return "no ring here";
    if (deny_system_call(SYS_io_uring_setup, EPERM) != 0) return "no filter";
    Context second(config());
    Job two(second);
    two.load();
    two.step(1);
    one.step(2);
    const std::string wrong = one.difference() + two.difference();
    if (!wrong.empty()) return wrong;
    return first.stats().engine + ", then " + second.stats().engine + ": " +
           joined(second.stats().engine_reasons);
  });
  EXPECT_TRUE(end.clean()) << end.status;
  if (end.said == "no ring here") GTEST_SKIP() << "io_uring is not available here";
  EXPECT_THAT(end.said, testing::StartsWith("io_uring, then threads: "));
  EXPECT_THAT(end.said, HasSubstr("EPERM"));
  EXPECT_TRUE(scratch.empty());
}

// Denied between two tiles of a step, with reads in flight: threads finish the work.
TEST_F(RingTest, DeniedInTheMiddleOfAStep) {
  for (const int error : {EPERM, ENOSYS}) {
    const ChildEnd end = in_child([&]() -> std::string {
      const CapturedLog log;
      Context context(config());
      Job job(context);
      job.load();
      job.step(1);
      if (context.stats().engine != "io_uring") return "no ring here";
      int slices = 0, refused = 0;
      job.step(2, [&](const Slice&) {
        if (++slices == 2) refused = deny_system_call(SYS_io_uring_enter, error);
      });
      if (refused != 0) return "no filter";
      job.step(3);
      job.weights.flush();
      const ContextStats stats = context.stats();
      return job.difference() + stats.engine + ": " + joined(log.lines());
    });
    EXPECT_TRUE(end.clean()) << end.status;
    if (end.said == "no ring here") GTEST_SKIP() << "io_uring is not available here";
    EXPECT_THAT(end.said, testing::StartsWith("threads: "));
    EXPECT_THAT(end.said, HasSubstr("while running"));
  }
  EXPECT_TRUE(scratch.empty());
}

TEST_F(RingTest, RegistrationRefused) {
  for (const int error : {ENOMEM, EPERM, EOPNOTSUPP}) {
    const ChildEnd end = in_child([&]() -> std::string {
      const CapturedLog log;
      if (deny_system_call(SYS_io_uring_register, error) != 0) return "no filter";
      Config pinned = config();
      pinned.offload_optimizer.pin_memory = pinned.offload_param.pin_memory = true;
      Context context(pinned);
      Job job(context);
      job.load();
      job.step(1);
      const ContextStats stats = context.stats();
      return job.difference() + "well on " + stats.engine + ": " + joined(stats.engine_reasons) +
             joined(log.lines());
    });
    EXPECT_TRUE(end.clean()) << end.status;
    EXPECT_THAT(end.said, testing::StartsWith("well on "));
    EXPECT_THAT(end.said, testing::AnyOf(HasSubstr("regist"), HasSubstr("threads: ")));
  }
  EXPECT_TRUE(scratch.empty());
}

// ---- disks that may not be written

class ReadOnlyDiskSystemTest : public testing::Test {};

TEST_F(ReadOnlyDiskSystemTest, IsRefusedAtTheStart) {
  const LoopMount disk("ext4", 32 << 20);
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  if (::mount(nullptr, disk.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
    GTEST_SKIP() << "cannot be remounted read-only";
  const CapturedLog log;
  const std::string said = outcome_of(test::job_config(disk.path()));
  // By the config's rules where the mount says so already, else by the first thing made there.
  EXPECT_THAT(said, testing::AnyOf(testing::StartsWith("permission_denied: "),
                                   testing::StartsWith("invalid_config: ")));
  EXPECT_THAT(said, HasSubstr(disk.path().string()));
  EXPECT_THAT(said, testing::AnyOf(HasSubstr("EROFS"), HasSubstr("ead-only")));
}

// ext4 that shuts down under a job (as after an error on its device) answers everything with EIO.
TEST_F(ReadOnlyDiskSystemTest, ADiskThatGoesAwayInTheMiddleOfAStep) {
  const LoopMount disk("ext4", 32 << 20);
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  const CapturedLog log;
  std::string text;
  Errc code{};
  {
    Config config = test::job_config(disk.path());
    config.io.timeout = config.io.shutdown_timeout = 10;
    Context context(config);
    Job job(context);
    job.load();
    job.step(1);
    ASSERT_EQ(job.difference(), "");
    const int root = ::open(disk.path().c_str(), O_RDONLY | O_CLOEXEC);
    int slices = 0, refused = 0;
    try {
      job.step(2, [&](const Slice&) {
        constexpr unsigned long shutdown = _IOR('X', 125, std::uint32_t);  // EXT4_IOC_SHUTDOWN
        std::uint32_t without_flush = 2;
        if (++slices == 2) refused = ::ioctl(root, shutdown, &without_flush);
      });
    } catch (const Error& error) {
      code = error.code();
      text = error.what();
    }
    ::close(root);
    if (refused != 0) GTEST_SKIP() << "this kernel's ext4 cannot be shut down";
    EXPECT_EQ(code, Errc::io_error) << text;
    EXPECT_THAT(text, HasSubstr("layer"));
    EXPECT_THAT(text, HasSubstr("EIO"));
    EXPECT_THAT(text, HasSubstr(disk.path().string()));
    // And every call after it is an error too, never a wrong number.
    EXPECT_THROW(job.step(2), Error);
    std::vector<float> values(9000);
    try {
      job.optimizer.read_state<float>(job.states[0], "m", 0, std::span(values));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::io_error);
    }
  }
}

}  // namespace
}  // namespace spillway
