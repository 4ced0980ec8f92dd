// kill -9 at random moments of a job: the next start works, removes what is ours, and touches
// nothing else. Five times in the suite, fifty with SPILLWAY_SOAK=1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "fault/job.h"
#include "store/directory_name.h"
#include "support/child_process.h"
#include "sys/process.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using test::Job;

std::string text_of(const fs::path& file) {
  std::ifstream stream(file);
  return std::string{std::istreambuf_iterator<char>(stream), {}};
}

/// All names below `folder`, with what the files hold and where the links point.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    std::string& what = all[fs::relative(entry.path(), folder).string()];
    if (entry.is_symlink()) {
      what = "-> " + fs::read_symlink(entry.path()).string();
    } else {
      what = entry.is_directory() ? "directory" : text_of(entry.path());
    }
  }
  return all;
}

std::string stale_name() { return store::DirectoryName::make(sys::host_tag()).text(); }

// A child that trains for ever. The first byte it writes says that it has begun its first step.
class Trainee {
 public:
  explicit Trainee(const fs::path& path) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    child_ = ::fork();
    if (child_ == 0) {
      try {
        Context context(test::job_config(path));
        Job job(context);
        job.load();
        static_cast<void>(!::write(ends[1], "s", 1));
        for (std::int64_t n = 1;; ++n) job.step(n);
      } catch (const std::exception& error) {
        static_cast<void>(!::write(STDERR_FILENO, error.what(), std::string(error.what()).size()));
      }
      ::_exit(3);
    }
    ::close(ends[1]);
    said_ = ends[0];
  }
  ~Trainee() {
    kill();
    if (said_ >= 0) ::close(said_);
  }
  Trainee(const Trainee&) = delete;
  Trainee& operator=(const Trainee&) = delete;

  bool wait_for_its_first_step() const {
    pollfd ready{said_, POLLIN, 0};
    char byte = 0;
    return ::poll(&ready, 1, 60'000) == 1 && ::read(said_, &byte, 1) == 1;
  }
  /// Whether it was still training.
  bool kill() {
    if (child_ <= 0) return false;
    ::kill(child_, SIGKILL);
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

 private:
  pid_t child_ = -1;
  int said_ = -1;
};

// What a new process does on the same path; "" if it did it well.
std::string next_start(const fs::path& path) {
  return in_child([&]() -> std::string {
           Context context(test::job_config(path));
           Job job(context);
           job.load();
           for (std::int64_t n = 1; n <= 2; ++n) job.step(n);
           return job.difference();
         })
      .said;
}

TEST(KillTest, AtRandomMomentsAndTheNextStartSweepsWhatIsOursAndNothingElse) {
  const int rounds = std::getenv("SPILLWAY_SOAK") != nullptr ? 50 : 5;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);

  const test::Scratch scratch, outside;
  const fs::path& path = scratch.path();
  // What somebody else keeps here.
  std::ofstream(path / "notes.txt") << "mine";
  fs::create_directories(path / "checkpoints" / "step 7");
  std::ofstream(path / "checkpoints" / "step 7" / "data") << "mine too";
  fs::create_directory(path / "spillway-results");
  // Links by names of ours, which lead out of the path.
  std::ofstream(outside.path() / "data") << "precious";
  fs::create_directory_symlink(outside.path(), path / stale_name());
  fs::create_symlink(outside.path() / "data", path / stale_name());
  fs::create_symlink("nowhere", path / stale_name());
  // A directory that looks like ours, is ours by its owner, and holds somebody's file.
  const fs::path adopted = path / stale_name();
  fs::create_directory(adopted);
  std::ofstream(adopted / "thesis.tex") << "mine as well";
  const auto theirs = contents(path), theirs_outside = contents(outside.path());

  int left = 0;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Trainee trainee(path);
    // One in three is killed while it is still starting.
    const bool stepping = round % 3 != 2;
    if (stepping) {
      ASSERT_TRUE(trainee.wait_for_its_first_step());
    }
    ::usleep(static_cast<useconds_t>(random() % (stepping ? 20'000 : 5'000)));
    EXPECT_TRUE(trainee.kill());
    const auto now = contents(path);
    left += now.size() > theirs.size();
    for (const auto& [name, what] : theirs) EXPECT_EQ(now.at(name), what) << name;

    EXPECT_EQ(next_start(path), "");
    EXPECT_EQ(contents(path), theirs) << "not as it was before the killed job";
    EXPECT_EQ(contents(outside.path()), theirs_outside);
  }
  EXPECT_GT(left, 0) << "nothing was ever left to sweep: it was killed too early";
}

// A link that a stale directory of ours holds in the place of its data file: the link may go, what
// it shows must not.
TEST(KillTest, ALinkInThePlaceOfOurDataIsNotFollowed) {
  const test::Scratch scratch, outside;
  std::ofstream(outside.path() / "data") << "precious";
  const fs::path stale = scratch.path() / stale_name();
  fs::create_directory(stale);
  fs::create_symlink(outside.path() / "data", stale / "data");
  EXPECT_EQ(next_start(scratch.path()), "");
  EXPECT_TRUE(scratch.empty());
  EXPECT_EQ(text_of(outside.path() / "data"), "precious");
}

// Beside a job that is killed, another one trains on the same path and notices nothing.
TEST(KillTest, AJobBesideIsNotDisturbed) {
  const test::Scratch scratch;
  Trainee first(scratch.path());
  ASSERT_TRUE(first.wait_for_its_first_step());
  {
    Trainee second(scratch.path());
    ASSERT_TRUE(second.wait_for_its_first_step());
    EXPECT_TRUE(second.kill());
  }
  EXPECT_EQ(next_start(scratch.path()), "") << "it sweeps what the second left";
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch.path()), fs::directory_iterator{}), 2)
      << "the first one's directories";
  EXPECT_TRUE(first.kill()) << "it was still training";
  EXPECT_EQ(next_start(scratch.path()), "");
  EXPECT_TRUE(scratch.empty());
}

}  // namespace
}  // namespace spillway
