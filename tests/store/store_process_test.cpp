#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "store/store_fixture.h"
#include "support/child_process.h"
#include "support/seccomp.h"
#include "sys/limits.h"

// What a killed or forked process leaves and takes. ThreadSanitizer cannot follow threads of a
// forked child, so every child that needs an engine is forked before this process has one.
namespace spillway::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

/// A child process that does something, says that it is ready, and then waits to be killed.
class Victim {
 public:
  template <typename Work>
  explicit Victim(Work&& work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    child_ = ::fork();
    if (child_ == 0) {
      work([&] { static_cast<void>(!::write(ends[1], "r", 1)); });
      ::_exit(3);
    }
    ::close(ends[1]);
    pollfd ready{ends[0], POLLIN, 0};
    char byte = 0;
    ready_ = ::poll(&ready, 1, 60'000) == 1 && ::read(ends[0], &byte, 1) == 1;
    ::close(ends[0]);
  }
  ~Victim() { kill(); }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;

  bool ready() const { return ready_; }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
  }

 private:
  pid_t child_ = -1;
  bool ready_ = false;
};

// Uses a store for a moment, or for ever; what it says is judged by the parent.
std::string life(const fs::path& path, int rounds) {
  const auto engine = open_engine();
  Store store(*engine, options_for({path}));
  const SectionId first = store.reserve(Sizes(4, 10'000), 1, 2);
  for (int round = 0; round < rounds; ++round) {
    const auto version = static_cast<unsigned>(round);
    for (int i = 0; i < 4; ++i) {
      if (const auto result = write(store, at(first, i), version); !result) return result.message();
    }
    for (int i = 0; i < 4; ++i) {
      if (const auto result = reads(store, at(first, i), version); !result) return result.message();
    }
  }
  return "well";
}

TEST(StoreProcessTest, KilledInTheMiddleOfWritesAndSweptByTheNext) {
  TempDir folder;
  Victim victim([&](const auto& ready) {
    const auto engine = open_engine();
    Store store(*engine, options_for({folder.path()}));
    const SectionId id = store.reserve(Sizes{MiB}, 1, 1);
    ready();
    for (unsigned version = 0;; ++version) static_cast<void>(write(store, id, version));
  });
  ASSERT_TRUE(victim.ready());
  ASSERT_EQ(folder.names().size(), 1u);
  const std::string left = folder.names()[0];

  // Somebody else starts beside the living one, which is not touched.
  EXPECT_EQ(in_child([&] { return life(folder.path(), 1); }).said, "well");
  EXPECT_THAT(folder.names(), testing::ElementsAre(left));

  victim.kill();
  EXPECT_THAT(folder.names(), testing::ElementsAre(left)) << "nobody was there to remove it";
  EXPECT_EQ(in_child([&] { return life(folder.path(), 1); }).said, "well");
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(StoreProcessTest, ProcessesSideBySideOnOnePath) {
  TempDir folder, results;
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      std::string all;
      try {
        for (int round = 0; round < 3; ++round) all += life(folder.path(), 3) + " ";
      } catch (const std::exception& error) {
        all += error.what();
      }
      std::ofstream(results.path() / std::to_string(i)) << all;
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  for (int i = 0; i < 3; ++i) {
    std::string said;
    std::getline(std::ifstream(results.path() / std::to_string(i)), said);
    EXPECT_EQ(said, "well well well ");
  }
  EXPECT_THAT(folder.names(), IsEmpty());
}

// From now on, openat() with O_TMPFILE fails in this process as on a simple file system.
bool refuse_nameless_files() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<unsigned>(offsetof(seccomp_data, args[2]))),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
  };
  const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(StoreProcessTest, WorksWithoutNamelessFilesAndFallocate) {
  TempDir folder;
  const ChildEnd end = in_child([&] {
    if (!refuse_nameless_files() || deny_system_call(SYS_fallocate, EOPNOTSUPP) != 0) {
      return std::string("no seccomp");
    }
    const auto engine = open_engine();
    Store store(*engine, options_for({folder.path()}));
    const PathReport report = store.report()[0];
    const std::size_t names = TempDir::names_in(report.directory).size();
    return fmt::format("{} names, {}: {}; {}", names, report.space_guaranteed ? "sure" : "unsure",
                       report.space_reason, life(folder.path(), 2));
  });
  if (end.said == "no seccomp") GTEST_SKIP() << "seccomp filters are not allowed here";
  EXPECT_EQ(end.said, "0 names, unsure: it does not support fallocate; well");
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(StoreProcessTest, ContextsOfOneProcessSideBySideOnOnePath) {
  TempDir folder;
  std::vector<std::thread> threads;
  std::vector<std::string> said(3);
  for (std::size_t i = 0; i < said.size(); ++i) {
    threads.emplace_back([&, i] { said[i] = life(folder.path(), 8); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& one : said) EXPECT_EQ(one, "well");
  EXPECT_THAT(folder.names(), IsEmpty());
}

// A data loader is forked, does its work, and exits as processes do, destructors and all.
TEST(StoreProcessTest, AForkedChildTakesNothingAway) {
  TempDir folder;
  const auto engine = open_engine();
  auto store = std::make_unique<Store>(*engine, options_for({folder.path()}));
  const SectionId id = store->reserve(Sizes{100'000}, 1, 1);
  ASSERT_TRUE(write(*store, id, 1));
  PageMemory buffer(store->footprint(id));
  Mover mover(*store, 1);
  mover.transfer().add_read(id, buffer.data());
  const int lock_holders = sys::open_descriptors();

  const ChildEnd end = in_child([&] {
    std::string said;
    const auto refused = [&](const char* what, const std::function<void()>& call) {
      try {
        call();
        said += std::string(what) + " worked; ";
      } catch (const Error& error) {
        if (error.code() != Errc::forked) said += std::string(what) + ": " + error.what() + "; ";
      }
    };
    refused("reserve", [&] { store->reserve(Sizes{4096}, 1, 1); });
    refused("release", [&] { store->release(id, 1); });
    refused("written", [&] { static_cast<void>(store->written(id)); });
    refused("forget", [&] { store->forget(id); });
    refused("seal", [&] { static_cast<void>(store->seal(id, buffer.data())); });
    refused("submit", [&] { mover.submit(); });
    // Directory, data file and nvme_path are closed here: a child keeps no lock and no space.
    said += fmt::format("{} fewer; ", lock_holders - sys::open_descriptors());
    store.reset();
    return said + "done";
  });
  EXPECT_TRUE(end.clean());
  // The engine's own descriptors (an eventfd, a ring) may be closed there too.
  int fewer = 0;
  ASSERT_EQ(std::sscanf(end.said.c_str(), "%d fewer; done", &fewer), 1) << end.said;
  EXPECT_GE(fewer, 3 - 2) << "the pipe to the child takes two";
  EXPECT_EQ(folder.names().size(), 1u);
  EXPECT_TRUE(reads(*store, id, 1));
  EXPECT_TRUE(write(*store, id, 2));
  EXPECT_TRUE(reads(*store, id, 2));
}

TEST(StoreProcessTest, AForkedChildHoldsNoLock) {
  TempDir folder;
  auto engine = open_engine();
  auto store = std::make_unique<Store>(*engine, options_for({folder.path()}));
  const fs::path directory = store->report()[0].directory;
  Victim child([](const auto& ready) {
    ready();
    for (;;) ::pause();
  });
  ASSERT_TRUE(child.ready());
  store.reset();
  EXPECT_FALSE(fs::exists(directory));
  // The lock on nvme_path is free, and so would be that of a stale directory.
  EXPECT_NO_THROW(Store(*engine, options_for({folder.path()})));
  EXPECT_THAT(folder.names(), IsEmpty());
}

// exit() runs the destructors of statics in the child.
TEST(StoreProcessTest, ExitInAForkedChild) {
  TempDir folder;
  const auto engine = open_engine();
  static Store* shared = nullptr;
  Store store(*engine, options_for({folder.path()}));
  shared = &store;
  const SectionId id = store.reserve(Sizes{4096}, 1, 1);
  ASSERT_TRUE(write(store, id, 1));
  const pid_t child = fork_beside_threads();
  if (child == 0) {
    shared->~Store();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(folder.names().size(), 1u);
  EXPECT_TRUE(reads(store, id, 1));
}

}  // namespace
}  // namespace spillway::store
