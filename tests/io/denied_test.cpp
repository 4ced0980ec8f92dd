// io_uring denied by a real seccomp filter, a real sysctl, a real limit. What cannot be undone
// happens in forked children.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>

#include "contract/engine_under_test.h"
#include "io/fake_engine.h"
#include "support/captured_log.h"
#include "support/child_process.h"
#include "support/seccomp.h"
#include "sys/limits.h"

namespace spillway::io {
namespace {

bool ring_works() {
  try {
    Engine::open({.engine = EngineChoice::io_uring});
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Writes and reads `bytes` back through the engine; "good" or what is wrong. `before_wait` runs
// while the transfers are under way.
std::string round_trip(Engine& engine, int fd, std::int64_t bytes,
                       const std::function<std::string()>& before_wait = nullptr) {
  const PageMemory out(bytes), in(bytes);
  paint(out.data(), bytes, 17);
  constexpr std::int64_t parts = 16;
  const FileId file = engine.add_file({.fd = fd, .name = "data file"});
  for (const Op op : {Op::write, Op::read}) {
    std::vector<Request> requests(static_cast<std::size_t>(parts));
    std::vector<Request*> batch;
    for (std::int64_t i = 0; i < parts; ++i) {
      Request& request = requests[static_cast<std::size_t>(i)];
      request.op = op;
      request.service = Service::write;
      request.file = file;
      request.offset = i * (bytes / parts);
      request.bytes = bytes / parts;
      request.data = (op == Op::write ? out : in).data() + request.offset;
      batch.push_back(&request);
    }
    engine.submit(batch);
    if (before_wait && op == Op::write)
      if (std::string wrong = before_wait(); !wrong.empty()) return wrong;
    for (Request& request : requests) {
      engine.wait(request, deadline_in(20));
      if (request.outcome().error != 0) return engine.error_of(request).what();
    }
  }
  if (std::memcmp(out.data(), in.data(), static_cast<std::size_t>(bytes)) != 0)
    return "the bytes differ";
  engine.remove_file(file);
  return "good";
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "|";
  return all;
}

class SeccompTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!ring_works()) GTEST_SKIP() << "io_uring is not available here";
    const ChildEnd end = in_child([] {
      return deny_system_call(SYS_io_uring_setup, EPERM) == 0 ? std::string("yes") : "no";
    });
    if (end.said != "yes") GTEST_SKIP() << "seccomp filters cannot be installed here";
  }
};

TEST_F(SeccompTest, DeniedFromTheStartThreadsTakeOver) {
  struct Case {
    long number;
    const char* name;
  };
  for (const Case& denied : {Case{SYS_io_uring_setup, "io_uring_setup"},
                             Case{SYS_io_uring_register, "io_uring_register"},
                             Case{SYS_io_uring_enter, "io_uring_enter"}}) {
    for (const int error : {EPERM, ENOSYS}) {
      const ChildEnd end = in_child([&]() -> std::string {
        if (deny_system_call(denied.number, error) != 0) return "no filter";
        const CapturedLog log;
        const auto engine = Engine::open({});
        const EngineReport report = engine->report();
        if (report.engine != "threads") return "engine is " + report.engine;
        if (log.lines().size() != 1) return "warnings: " + joined(log.lines());
        const std::string reasons = joined(report.reasons);
        if (!contains(reasons, denied.name) || !contains(reasons, "seccomp"))
          return "reasons: " + reasons;
        const sys::UniqueFd fd = temporary_file(MiB);
        if (std::string wrong = round_trip(*engine, fd.get(), MiB); wrong != "good") return wrong;
        try {
          Engine::open({.engine = EngineChoice::io_uring});
          return "a demanded ring was replaced";
        } catch (const Error& refused) {
          if (refused.code() != Errc::unsupported) return refused.what();
          if (!contains(refused.what(), "seccomp profile")) return refused.what();
        }
        return "good";
      });
      EXPECT_EQ(end.said, "good") << denied.name << " " << error;
      EXPECT_TRUE(end.clean()) << denied.name << " " << error << " status " << end.status;
    }
  }
}

TEST_F(SeccompTest, DeniedWhileRunningThreadsFinishTheWork) {
  for (const int error : {EPERM, ENOSYS}) {
    for (const bool direct : {true, false}) {
      const ChildEnd end = in_child([&]() -> std::string {
        const CapturedLog log;
        const auto engine = Engine::open({.block_size = 256 * KiB});
        if (engine->report().engine != "io_uring") return "no ring";
        const PageMemory registered(MiB);
        engine->add_memory(registered.span());
        constexpr std::int64_t bytes = 32 * MiB;
        const sys::UniqueFd fd = temporary_file(bytes, ".", direct ? O_DIRECT : 0);
        const auto deny = [&] {
          return deny_system_call(SYS_io_uring_enter, error) == 0 ? std::string() : "no filter";
        };
        if (std::string wrong = round_trip(*engine, fd.get(), bytes, deny); wrong != "good")
          return wrong;
        const EngineReport report = engine->report();
        if (report.engine != "threads") return "engine is " + report.engine;
        if (!contains(joined(report.reasons), "while running")) return joined(report.reasons);
        if (log.lines().size() != 1) return joined(log.lines());
        if (engine->stats().registered_bytes != 0) return "still registered";
        if (!engine->shutdown(10).clean) return "not clean";
        return "good";
      });
      EXPECT_EQ(end.said, "good") << error;
      EXPECT_TRUE(end.clean()) << error << " status " << end.status;
    }
  }
}

TEST(LimitTest, AFileSizeLimitIsNoSpaceAndKillsNobody) {
  for (const EngineChoice choice : {EngineChoice::automatic, EngineChoice::threads}) {
    const ChildEnd end = in_child([&]() -> std::string {
      ::signal(SIGXFSZ, SIG_DFL);
      const sys::UniqueFd fd = temporary_file(0);
      const rlimit limit{256 * 1024, 256 * 1024};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
      const auto engine = Engine::open({.engine = choice, .block_size = 128 * KiB});
      const FileId file = engine->add_file({.fd = fd.get(), .name = "data file"});
      const PageMemory memory(MiB);
      std::memset(memory.data(), 1, MiB);
      Request request;
      request.op = Op::write;
      request.service = Service::write;
      request.file = file;
      request.data = memory.data();
      request.bytes = MiB;
      engine->submit(request);
      engine->wait(request);
      if (request.outcome().error == 0) return "written past the limit";
      const Error error = engine->error_of(request);
      if (error.code() != Errc::no_space || !contains(error.what(), "RLIMIT_FSIZE"))
        return error.what();
      // fallocate raises the same signal, so it runs where that is blocked.
      int refused = 0;
      engine->call([&] { refused = ::posix_fallocate(fd.get(), 0, MiB); });
      if (refused != EFBIG) return "fallocate: " + sys::errno_text(refused);
      request.bytes = 128 * KiB;
      engine->submit(request);
      engine->wait(request);
      return request.outcome().error == 0 ? "good" : engine->error_of(request).what();
    });
    EXPECT_EQ(end.said, "good");
    EXPECT_TRUE(end.clean()) << end.status;
  }
}

TEST(LimitTest, WithoutRightToLockMemoryTheRingRunsUnregistered) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become an ordinary user";
  const ChildEnd end = in_child([]() -> std::string {
    const sys::UniqueFd fd = temporary_file(4 * MiB);
    limit_locked_memory(256 * KiB);
    become_nobody();
    const CapturedLog quiet;
    const auto engine = Engine::open({});
    const PageMemory memory(4 * MiB);
    const std::int64_t registered = engine->add_memory(memory.span());
    if (registered != 0) return "registered " + std::to_string(registered);
    const EngineReport report = engine->report();
    if (report.engine == "io_uring") {
      const std::string reason = report.reasons.empty() ? "" : report.reasons.back();
      for (const char* part : {"4194304 bytes", "RLIMIT_MEMLOCK is 256.0 KiB", "ulimit -l"})
        if (!contains(reason, part)) return "reason: " + reason;
    }
    return round_trip(*engine, fd.get(), 4 * MiB);
  });
  EXPECT_EQ(end.said, "good");
  EXPECT_TRUE(end.clean()) << end.status;
}

// Changes a setting of the whole machine, and puts it back whatever happens.
class Sysctl {
 public:
  explicit Sysctl(const char* path) : path_(path) {
    std::ifstream in(path_);
    in >> before_;
  }
  ~Sysctl() {
    if (!before_.empty()) set(before_);
  }
  Sysctl(const Sysctl&) = delete;
  Sysctl& operator=(const Sysctl&) = delete;
  bool set(const std::string& value) const {
    std::ofstream out(path_);
    out << value << std::flush;
    return static_cast<bool>(out);
  }

 private:
  const char* path_;
  std::string before_;
};

// Runs alone: every other test of the machine sees the setting too.
TEST(IoUringDisabledSystemTest, ThreadsTakeOverAndTheReasonNamesTheSetting) {
  if (!ring_works()) GTEST_SKIP() << "io_uring is not available here";
  const Sysctl disabled("/proc/sys/kernel/io_uring_disabled");
  if (!disabled.set("2")) GTEST_SKIP() << "kernel.io_uring_disabled cannot be set here";
  const CapturedLog log;
  const auto engine = Engine::open({});
  EXPECT_EQ(engine->report().engine, "threads");
  EXPECT_TRUE(contains(joined(engine->report().reasons), "kernel.io_uring_disabled is 2"))
      << joined(engine->report().reasons);
  EXPECT_EQ(log.lines().size(), 1u);
  const sys::UniqueFd fd = temporary_file(MiB);
  EXPECT_EQ(round_trip(*engine, fd.get(), MiB), "good");
  const Error error = thrown([] { Engine::open({.engine = EngineChoice::io_uring}); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_TRUE(contains(error.what(), "sysctl -w kernel.io_uring_disabled=0")) << error.what();
}

}  // namespace
}  // namespace spillway::io
