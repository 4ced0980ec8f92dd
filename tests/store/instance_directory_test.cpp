#include "store/instance_directory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "store/directory_name.h"
#include "store/store_fixture.h"
#include "support/child_process.h"
#include "sys/directory.h"
#include "sys/process.h"

namespace spillway::store {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class InstanceDirectoryTest : public testing::Test {
 protected:
  // A directory as a killed process would leave it.
  fs::path plant(const std::string& name) {
    fs::create_directory(folder.path() / name);
    return folder.path() / name;
  }
  static std::string stale_name(const std::string& host = sys::host_tag()) {
    return DirectoryName::make(host).text();
  }

  TempDir folder;
};

TEST_F(InstanceDirectoryTest, LivesUnderItsNameAndIsGoneAfterwards) {
  {
    const InstanceDirectory directory(folder.text());
    ASSERT_EQ(folder.names().size(), 1u);
    const auto name = DirectoryName::parse(folder.names()[0]);
    ASSERT_TRUE(name);
    EXPECT_EQ(name->host, sys::host_tag());
    EXPECT_EQ(name->pid, ::getpid());
    EXPECT_EQ(directory.path(), folder.text() + "/" + folder.names()[0]);
  }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST_F(InstanceDirectoryTest, ModeIs0700WhateverTheUmask) {
  for (const mode_t mask : {0000, 0022, 0077, 0277, 0777}) {
    const mode_t before = ::umask(mask);
    {
      const InstanceDirectory directory(folder.text());
      struct stat facts {};
      ASSERT_EQ(::stat(directory.path().c_str(), &facts), 0);
      EXPECT_EQ(facts.st_mode & 07777u, 0700u) << std::oct << mask;
    }
    ::umask(before);
  }
}

TEST_F(InstanceDirectoryTest, AnOrdinaryUserIsServedUnderAnyUmask) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  ASSERT_EQ(::chmod(folder.path().c_str(), 0777), 0);
  const ChildEnd end = in_child([&] {
    become_nobody();
    ::umask(0777);
    const InstanceDirectory directory(folder.text());
    struct stat facts {};
    if (::stat(directory.path().c_str(), &facts) != 0) return std::string("no directory");
    return fmt::format("{:o}", facts.st_mode & 07777u);
  });
  // Where the way to the folder is closed to others, that is what it must say.
  if (end.said.find("cannot open nvme_path") != std::string::npos) {
    GTEST_SKIP() << "the temporary directory is closed to other users";
  }
  EXPECT_EQ(end.said, "700");
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST_F(InstanceDirectoryTest, APathThatMayNotBeWritten) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  const ChildEnd end = in_child([&] {
    become_nobody();
    try {
      const InstanceDirectory directory(folder.text());
    } catch (const Error& error) {
      return fmt::format("{}: {}", to_string(error.code()), error.what());
    }
    return std::string("nothing was thrown");
  });
  EXPECT_THAT(end.said, testing::StartsWith("permission_denied: cannot "));
  EXPECT_THAT(end.said, HasSubstr(folder.text()));
  EXPECT_THAT(end.said, HasSubstr("EACCES"));
}

TEST_F(InstanceDirectoryTest, SweepsWhatAKilledProcessLeft) {
  const fs::path empty = plant(stale_name());
  const fs::path full = plant(stale_name());
  std::ofstream(full / "data") << "of a file system without O_TMPFILE";
  const InstanceDirectory directory(folder.text());
  EXPECT_FALSE(fs::exists(empty));
  EXPECT_FALSE(fs::exists(full));
  EXPECT_EQ(folder.names().size(), 1u);
}

// Everything that is not exactly ours and dead.
TEST_F(InstanceDirectoryTest, SweepsNothingElse) {
  const std::string host = sys::host_tag();
  plant("spillway-notes");
  plant(stale_name() + "x");
  plant(stale_name("0123456789abcdef"));  // another host's: its locks do not reach us
  std::ofstream(folder.path() / stale_name()) << "a file by such a name";
  const fs::path with_more = plant(stale_name());
  std::ofstream(with_more / "data") << "x";
  std::ofstream(with_more / "thesis.tex") << "x";
  const fs::path with_folder = plant(stale_name());
  fs::create_directory(with_folder / "data");
  std::ofstream(with_folder / "data" / "keep") << "x";

  const TempDir outside;
  std::ofstream(outside.path() / "data") << "precious";
  fs::create_directory_symlink(outside.path(), folder.path() / stale_name());
  // A stale directory of ours whose data is a link: the link may go, what it shows must not.
  const fs::path linked = plant(stale_name());
  std::ofstream(outside.path() / "target") << "precious";
  fs::create_symlink(outside.path() / "target", linked / "data");

  const auto before = folder.names();
  { const InstanceDirectory directory(folder.text()); }
  EXPECT_FALSE(fs::exists(linked));
  std::vector<std::string> expected = before;
  std::erase(expected, linked.filename().string());
  EXPECT_THAT(folder.names(), testing::UnorderedElementsAreArray(expected));
  EXPECT_THAT(outside.names(), UnorderedElementsAre("data", "target"));
  EXPECT_THAT(TempDir::names_in(with_more), UnorderedElementsAre("data", "thesis.tex"));
  EXPECT_THAT(TempDir::names_in(with_folder / "data"), UnorderedElementsAre("keep"));
}

TEST_F(InstanceDirectoryTest, SweepsNoOtherUsersDirectory) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving a directory away needs root";
  const fs::path theirs = plant(stale_name());
  ASSERT_EQ(::chown(theirs.c_str(), 65534, 65534), 0);
  const InstanceDirectory directory(folder.text());
  EXPECT_TRUE(fs::exists(theirs));
}

TEST_F(InstanceDirectoryTest, SweepsNoLivingInstance) {
  const InstanceDirectory first(folder.text());
  {
    const InstanceDirectory second(folder.text());
    EXPECT_EQ(folder.names().size(), 2u);
    const InstanceDirectory third(folder.text());
    EXPECT_EQ(folder.names().size(), 3u);
  }
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST_F(InstanceDirectoryTest, WaitsForThePathOnlySoLong) {
  sys::UniqueFd other;
  ASSERT_EQ(sys::open_directory(folder.text(), other), 0);
  ASSERT_EQ(sys::try_lock(other.get()), 0);
  const Error error = error_from([&] { const InstanceDirectory directory(folder.text(), 0.05); });
  EXPECT_EQ(error.code(), Errc::timeout);
  EXPECT_THAT(error.what(), HasSubstr(folder.text()));
  EXPECT_THAT(folder.names(), IsEmpty());

  std::thread holder([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    sys::unlock(other.get());
  });
  EXPECT_NO_THROW(InstanceDirectory(folder.text(), 30));
  holder.join();
}

TEST_F(InstanceDirectoryTest, ForeignFilesInOurDirectoryStay) {
  std::string path;
  {
    const InstanceDirectory directory(folder.text());
    path = directory.path();
    std::ofstream(fs::path(path) / "theirs") << "x";
  }
  EXPECT_TRUE(fs::exists(fs::path(path) / "theirs"));
}

TEST_F(InstanceDirectoryTest, ManyStartAndEndAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const InstanceDirectory directory(folder.text());
        EXPECT_TRUE(fs::exists(directory.path()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(folder.names(), IsEmpty());
}

}  // namespace
}  // namespace spillway::store
