#include "sys/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support/child_process.h"

namespace spillway::sys {
namespace {

bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; }
int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(ProcessTest, BlocksSignalsButThoseOfAFault) {
  sigset_t blocked;
  sigemptyset(&blocked);
  std::thread([&] {
    block_all_signals();
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  }).join();
  for (const int number : {SIGXFSZ, SIGINT, SIGTERM, SIGUSR1, SIGPROF, SIGALRM, SIGPIPE, SIGCHLD})
    EXPECT_EQ(sigismember(&blocked, number), 1) << number;
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS})
    EXPECT_EQ(sigismember(&blocked, number), 0) << number;
}

TEST(ProcessTest, ThreadNamesAreCutNotRefused) {
  std::array<char, 16> name{};
  std::thread([&] {
    name_thread("spillway-with-a-long-name");
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  }).join();
  EXPECT_STREQ(name.data(), "spillway-with-a");
}

TEST(ProcessTest, AForkedChildIsAnotherProcess) {
  const int parent = process_id();
  EXPECT_EQ(parent, process_id());
  const ChildEnd end = in_child([&] { return std::string(process_id() != parent ? "yes" : "no"); });
  EXPECT_EQ(end.said, "yes");
}

TEST(ProcessTest, TheHostTagIsSixteenHexDigitsAndStays) {
  const std::string tag = host_tag();
  EXPECT_EQ(tag.size(), 16u);
  EXPECT_EQ(tag.find_first_not_of("0123456789abcdef"), std::string::npos) << tag;
  EXPECT_EQ(tag, host_tag());
  EXPECT_EQ(tag, in_child([] { return host_tag(); }).said);
}

TEST(ProcessTest, AChildLosesWhatItMustNotKeep) {
  const int listed = open_null(), other = open_null();
  close_in_child(listed);
  const auto state = [&] {
    return std::string(is_open(listed) ? "listed " : "") + (is_open(other) ? "other" : "");
  };
  EXPECT_EQ(in_child(state).said, "other");
  EXPECT_EQ(state(), "listed other");
  // The child's list is empty: what it opens under the same number is its own.
  const ChildEnd grandchild = in_child([&] {
    ::dup2(other, listed);
    return in_child(state).said;
  });
  EXPECT_EQ(grandchild.said, "listed other");

  forget_and_close(listed);
  EXPECT_FALSE(is_open(listed));
  const int again = ::dup2(other, listed);  // the number is somebody else's now
  EXPECT_EQ(in_child(state).said, "listed other");
  for (const int descriptor : {again, other}) ::close(descriptor);
}

// The list is copied whole, though other threads change it: a torn one would close at random.
TEST(ProcessTest, ForksBesideThreadsThatOpenAndClose) {
  std::atomic<bool> stop{false};
  std::vector<std::jthread> workers;
  for (int worker = 0; worker < 2; ++worker)
    workers.emplace_back([&] {
      while (!stop) {
        std::array<int, 8> descriptors{};
        for (int& descriptor : descriptors) close_in_child(descriptor = open_null());
        for (const int descriptor : descriptors) forget_and_close(descriptor);
      }
    });
  const int kept = open_null();
  for (int round = 0; round < 30; ++round) {
    const ChildEnd end = in_child([&] { return std::string(is_open(kept) ? "kept" : "lost"); });
    EXPECT_EQ(end.said, "kept");
    EXPECT_TRUE(end.clean());
  }
  stop = true;
  workers.clear();
  ::close(kept);
}

}  // namespace
}  // namespace spillway::sys
