// Files and directories as they are found.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <set>

#include "config/support.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

// Root may do everything, so what is about permission runs as somebody else.
class AsNobody {
 public:
  AsNobody() : was_root_(::geteuid() == 0) {
    if (was_root_ && ::seteuid(65534) != 0) throw std::runtime_error("seteuid");
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    if (was_root_ && ::seteuid(0) != 0) std::abort();
  }

 private:
  bool was_root_;
};

Config with_paths(std::vector<fs::path> paths) {
  Config c;
  c.offload_optimizer.device = OffloadDevice::nvme;
  c.offload_optimizer.nvme_path = std::move(paths);
  return c;
}

std::optional<Failure> trouble_with(std::vector<fs::path> paths) {
  return failure_of([&] { check_paths(with_paths(std::move(paths))); });
}

std::set<fs::path> all_below(const fs::path& top) {
  std::set<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(top)) found.insert(entry.path());
  return found;
}

TEST(CheckPathsTest, WritableDirectoriesPassAndNothingIsCreated) {
  const ScratchDirectory scratch;
  const fs::path a = scratch.directory("a"), b = scratch.directory("b");
  const auto before = all_below(scratch.path());
  EXPECT_FALSE(trouble_with({a, b}));
  EXPECT_FALSE(trouble_with({fs::proximate(a)})) << "relative";
  EXPECT_TRUE(trouble_with({a / "absent", b}));
  const std::string json = "{\"offload_param\": {\"device\": \"nvme\", \"nvme_path\": \"" +
                           (a / "absent").string() + "\", \"buffer_count\": -1}}";
  const fs::path file = scratch.file("config.json", json);
  EXPECT_TRUE(failure_of([&] { load_config(file); }));
  fs::remove(file);
  EXPECT_EQ(all_below(scratch.path()), before);
}

TEST(CheckPathsTest, EachBadPathHasItsLine) {
  const ScratchDirectory scratch;
  const fs::path good = scratch.directory("good"), file = scratch.file("file", "x");
  fs::create_directory_symlink(good, scratch.path() / "link");
  const auto failure = trouble_with(
      {good, file, scratch.path() / "absent", file / "below", scratch.path() / "link"});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Errc::invalid_config);
  ASSERT_EQ(failure->lines.size(), 5U) << failure->text();
  EXPECT_EQ(failure->lines[0], "config: 4 problems");
  const auto line = [](int index, const fs::path& path, const std::string& what) {
    return "  offload_optimizer.nvme_path[" + std::to_string(index) + "]: \"" + path.string() +
           "\" " + what;
  };
  EXPECT_THAT(failure->lines[1], StartsWith(line(1, file, "is not a directory")));
  EXPECT_THAT(failure->lines[2], StartsWith(line(2, scratch.path() / "absent", "does not exist")));
  EXPECT_THAT(failure->lines[3], StartsWith(line(3, file / "below", "cannot be looked at")));
  EXPECT_THAT(failure->lines[4],
              StartsWith(line(4, scratch.path() / "link", "is the same directory as [0]")));
}

TEST(CheckPathsTest, ADirectoryThatMayNotBeWrittenIsRefused) {
  const ScratchDirectory scratch;
  const fs::path closed = scratch.directory("closed");
  ASSERT_EQ(::chmod(scratch.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(closed.c_str(), 0555), 0);
  const AsNobody nobody;
  struct stat facts {};
  if (::stat(closed.c_str(), &facts) != 0)
    GTEST_SKIP() << "the temporary directory is closed to other users";
  const auto failure = trouble_with({closed});
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->text(), HasSubstr("offload_optimizer.nvme_path: \"" + closed.string() +
                                         "\" may not be written by user "));
}

TEST(CheckPathsTest, RelativePathsAndTildesAreExplained) {
  auto failure = trouble_with({"no/such/dir"});
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->text(),
              HasSubstr("\"no/such/dir\" (that is \"" +
                        (fs::current_path() / "no/such/dir").string() + "\") does not exist"));
  failure = trouble_with({"~/swap"});
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->text(), HasSubstr("~ is not expanded here"));
}

TEST(CheckPathsTest, UnusedPathsAreNotLookedAt) {
  Config c = with_paths({"/does/not/exist"});
  c.offload_optimizer.device = OffloadDevice::cpu;
  EXPECT_NO_THROW(check_paths(c));
}

TEST(CheckPathsTest, BothSectionsAreChecked) {
  Config c = with_paths({"/does/not/exist"});
  c.offload_param.device = OffloadDevice::nvme;
  c.offload_param.nvme_path = {"/neither/does/this"};
  const auto failure = failure_of([&] { check_paths(c); });
  ASSERT_TRUE(failure);
  EXPECT_THAT(
      failure->lines,
      testing::ElementsAre("config: 2 problems", HasSubstr("  offload_param.nvme_path: \"/neither"),
                           HasSubstr("  offload_optimizer.nvme_path: \"/does")));
}

TEST(CheckPathsTest, TheSectionsMayShareADirectory) {
  const ScratchDirectory scratch;
  Config c = with_paths({scratch.path()});
  c.offload_param.device = OffloadDevice::nvme;
  c.offload_param.nvme_path = {scratch.path()};
  EXPECT_NO_THROW(check_paths(c));
}

TEST(LoadTest, ReadsAFile) {
  const ScratchDirectory scratch;
  const fs::path file = scratch.file("c.json", R"({"io": {"queue_depth": 9}})");
  EXPECT_EQ(load_config(file).io.queue_depth, 9);
}

TEST(LoadTest, ProblemsNameTheFile) {
  const ScratchDirectory scratch;
  const fs::path wrong = scratch.file("c.json", R"({"io": {"queue_depth": -9}})");
  auto failure = failure_of([&] { load_config(wrong); });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->lines[0], wrong.string() + ": 1 problem");
  const fs::path broken = scratch.file("b.json", "{\n");
  failure = failure_of([&] { load_config(broken); });
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->lines[0], StartsWith(broken.string() + ": line 2, column 1: "));
}

TEST(LoadTest, WhatIsNoReadableFileIsSaid) {
  const ScratchDirectory scratch;
  const fs::path file = scratch.file("c.json", "{}");
  const auto expect = [](const fs::path& path, Errc code, const std::string& fragment) {
    const auto failure = failure_of([&] { load_config(path); });
    ASSERT_TRUE(failure) << path;
    EXPECT_EQ(failure->code, code) << failure->text();
    ASSERT_EQ(failure->lines.size(), 1U);
    EXPECT_THAT(failure->lines[0], StartsWith(path.string()));
    EXPECT_THAT(failure->lines[0], HasSubstr(fragment));
  };
  expect(scratch.path() / "absent.json", Errc::not_found, "there is no such file");
  expect(file / "below.json", Errc::not_found, "there is no such file");
  expect("~/absent.json", Errc::not_found, "~ is not expanded here");
  expect("", Errc::not_found, "the name of the configuration file is empty");
  expect(std::string(5000, 'x'), Errc::not_found, "cannot be opened");
  expect(scratch.path(), Errc::invalid_config, "is a directory");
  expect("/dev/zero", Errc::invalid_config, "larger than 16 MiB");

  ASSERT_EQ(::chmod(scratch.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  const AsNobody nobody;
  if (struct stat facts{}; ::stat(file.c_str(), &facts) != 0)
    GTEST_SKIP() << "the temporary directory is closed to other users";
  expect(file, Errc::permission_denied, "may not be read by this user");
}

}  // namespace
}  // namespace spillway
