// Real back-ends on devices that never answer.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <memory>

#include "io/fake_engine.h"
#include "support/captured_log.h"
#include "support/temporary_file.h"

namespace spillway::io {
namespace {

/// A page on which whoever touches it, the kernel included, hangs until the end of this object.
class HangingPage {
 public:
  HangingPage() {
    at_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handler_ = sys::UniqueFd{static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC))};
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    uffdio_register range{};
    range.range = {reinterpret_cast<std::uintptr_t>(at_), size};
    range.mode = UFFDIO_REGISTER_MODE_MISSING;
    usable_ = handler_ && ::ioctl(handler_.get(), UFFDIO_API, &api) == 0 &&
              ::ioctl(handler_.get(), UFFDIO_REGISTER, &range) == 0;
  }
  // The mapping stays: who hangs wakes up on it.
  void let_go() { handler_.reset(); }
  bool usable() const { return usable_; }
  std::byte* data() const { return static_cast<std::byte*>(at_); }

 private:
  static constexpr std::size_t size = 4096;
  void* at_ = nullptr;
  sys::UniqueFd handler_;
  bool usable_ = false;
};

class DeadDevice : public ::testing::TestWithParam<EngineChoice> {};
INSTANTIATE_TEST_SUITE_P(All, DeadDevice,
                         ::testing::Values(EngineChoice::automatic, EngineChoice::threads),
                         [](const auto& instance) {
                           return instance.param == EngineChoice::threads ? "Threads" : "Automatic";
                         });

TEST_P(DeadDevice, ShutdownLeavesItBehindAndNamesIt) {
  HangingPage page;
  if (!page.usable()) GTEST_SKIP() << "userfaultfd is not available here";
  const CapturedLog log;
  // Stays open, like the page: an abandoned transfer still uses both.
  const int fd = temporary_file(8192).release();
  auto engine = Engine::open({.engine = GetParam()});
  const FileId file = engine->add_file({.fd = fd, .name = "dead file"});
  Request request;
  request.file = file;
  request.data = page.data();
  request.bytes = 4096;
  engine->submit(request);
  const Error late = thrown([&] { engine->wait(request, deadline_in(0.5)); });
  EXPECT_EQ(late.code(), Errc::timeout);
  EXPECT_TRUE(contains(late.what(), "read 4.0 KiB at 0 of dead file")) << late.what();

  const ShutdownResult result = engine->shutdown(0.05);
  EXPECT_FALSE(result.clean);
  ASSERT_EQ(result.abandoned.size(), 1u);
  EXPECT_TRUE(contains(result.abandoned[0], "dead file"));
  EXPECT_FALSE(log.lines().empty());
  engine.reset();
  page.let_go();
}

TEST(DeadPipe, ARingWithAReadThatNeverEndsIsGivenUp) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const sys::UniqueFd read_end(ends[0]), write_end(ends[1]);
  std::unique_ptr<Engine> engine;
  try {
    engine = Engine::open({.engine = EngineChoice::io_uring});
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  const CapturedLog log;
  const PageMemory memory(4096);
  Request request;
  request.file = engine->add_file({.fd = read_end.get(), .name = "silent pipe"});
  request.data = memory.data();
  request.bytes = 4096;
  engine->submit(request);
  EXPECT_THROW(engine->wait(request, deadline_in(0.5)), Error);
  const ShutdownResult result = engine->shutdown(0.1);
  EXPECT_FALSE(result.clean);
  EXPECT_EQ(result.abandoned.size(), 1u);
}

}  // namespace
}  // namespace spillway::io
