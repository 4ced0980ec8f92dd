#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "store/store_fixture.h"
#include "store/volume.h"
#include "support/child_process.h"
#include "support/loop_mount.h"
#include "support/memory_group.h"
#include "sys/limits.h"

// File systems of their own, made for the test: full disks, and the manners of each kind.
namespace spillway::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

struct Kind {
  const char* name;
  std::int64_t bytes;
  std::int64_t section;  ///< a section of which a few fit
};

class StoreSystemTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (!mount.mounted()) GTEST_SKIP() << mount.reason();
  }
  // Everything that is still free, taken by somebody else.
  void fill_the_rest() const {
    const std::string name = (mount.path() / "somebody").string();
    const int fd = ::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    // Allocation is quick; what it cannot take, small writes do.
    off_t end = 0;
    for (off_t piece = 64 * MiB; piece >= page_bytes;) {
      if (::fallocate(fd, 0, end, piece) == 0) {
        end += piece;
      } else {
        piece /= 2;
      }
    }
    const std::vector<char> bytes(64 * 1024, 'x');
    for (std::size_t piece = bytes.size(); piece > 0;) {
      const auto put = ::pwrite(fd, bytes.data(), piece, end);
      if (put > 0) {
        end += put;
      } else {
        piece /= 2;
      }
    }
    static_cast<void>(::fsync(fd));
    ::close(fd);
  }
  std::vector<std::string> names() const {
    auto all = TempDir::names_in(mount.path());
    std::erase(all, "lost+found");
    std::erase(all, "somebody");
    return all;
  }

  LoopMount mount{GetParam().name, GetParam().bytes};
  std::unique_ptr<io::Engine> engine = open_engine();
};

TEST_P(StoreSystemTest, AFullDiskFailsTheReservationAndNothingElse) {
  Store store(*engine, options_for({mount.path()}));
  const SectionId first = store.reserve(Sizes(4, GetParam().section), 2, 1);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(write(store, at(first, i), 1));
  const std::int64_t allocated = store.allocated_bytes();
  const Error error = error_from([&] { store.reserve(Sizes(1000, GetParam().section), 1, 1); });
  EXPECT_EQ(error.code(), Errc::no_space);
  EXPECT_THAT(error.what(), HasSubstr(mount.path().string()));
  EXPECT_EQ(store.allocated_bytes(), allocated);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(reads(store, at(first, i), 1));
  // What fits after the refusal still fits.
  const SectionId more = store.reserve(Sizes{GetParam().section}, 1, 1);
  EXPECT_TRUE(write(store, more, 2));
  EXPECT_TRUE(reads(store, more, 2));
}

// The whole point of preallocation: steps go on, pass after pass, when others fill the disk.
TEST_P(StoreSystemTest, OverwritesGoOnWhileTheDiskIsFull) {
  Store store(*engine, options_for({mount.path()}));
  const SectionId first = store.reserve(Sizes(6, GetParam().section), 3, 1);
  ASSERT_TRUE(store.report()[0].space_guaranteed) << store.report()[0].space_reason;
  fill_the_rest();
  for (unsigned pass = 0; pass < 6; ++pass) {
    for (int i = 0; i < 6; ++i) ASSERT_TRUE(write(store, at(first, i), pass)) << "pass " << pass;
  }
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(reads(store, at(first, i), 5));
  EXPECT_EQ(error_from([&] { store.reserve(Sizes(50, GetParam().section), 1, 1); }).code(),
            Errc::no_space);
}

TEST_P(StoreSystemTest, NothingIsLeftOnAFullDisk) {
  fill_the_rest();
  const Error error = error_from([&] {
    Store store(*engine, options_for({mount.path()}));
    store.reserve(Sizes(8, GetParam().section), 1, 1);
  });
  EXPECT_EQ(error.code(), Errc::no_space);
  EXPECT_THAT(error.what(), HasSubstr(mount.path().string()));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_P(StoreSystemTest, AFullPathOfSeveralIsNamedAndTheOthersRollBack) {
  const TempDir roomy;
  StoreOptions options = options_for({roomy.path(), mount.path()});
  options.stripe_unit = 64 * KiB;
  Store store(*engine, options);
  const SectionId first = store.reserve(Sizes{GetParam().section}, 1, 1);
  ASSERT_TRUE(write(store, first, 1));
  const auto before = store.report();
  const Error error = error_from([&] { store.reserve(Sizes(400, GetParam().section), 1, 1); });
  EXPECT_EQ(error.code(), Errc::no_space);
  EXPECT_THAT(error.what(), HasSubstr(mount.path().string()));
  EXPECT_THAT(error.what(), testing::Not(HasSubstr(roomy.text())));
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(store.report()[i].allocated_bytes, before[i].allocated_bytes);
  }
  EXPECT_TRUE(reads(store, first, 1));
}

TEST_P(StoreSystemTest, AReadOnlyPathIsRefused) {
  if (::mount(nullptr, mount.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
    GTEST_SKIP() << "cannot be remounted read-only";
  }
  const Error error = error_from([&] { Store store(*engine, options_for({mount.path()})); });
  EXPECT_EQ(error.code(), Errc::permission_denied);
  EXPECT_THAT(error.what(), HasSubstr("EROFS"));
  EXPECT_THAT(error.what(), HasSubstr(mount.path().string()));
}

TEST_P(StoreSystemTest, TheReportKnowsTheFileSystem) {
  Store store(*engine, options_for({mount.path()}));
  const PathReport report = store.report()[0];
  EXPECT_EQ(report.file_system, GetParam().name);
  EXPECT_EQ(report.memory, std::string(GetParam().name) == "tmpfs");
  EXPECT_TRUE(report.space_guaranteed);
  if (std::string(GetParam().name) != "btrfs") return;
  int flags = 0;
  ASSERT_EQ(::ioctl(engine->file(report.file).fd, FS_IOC_GETFLAGS, &flags), 0);
  EXPECT_NE(flags & FS_NOCOW_FL, 0);
}

INSTANTIATE_TEST_SUITE_P(FileSystems, StoreSystemTest,
                         testing::Values(Kind{"ext4", 32 * MiB, MiB}, Kind{"tmpfs", 16 * MiB, MiB},
                                         Kind{"xfs", 320 * MiB, 2 * MiB},
                                         Kind{"btrfs", 256 * MiB, 2 * MiB}),
                         [](const auto& kind) { return kind.param.name; });

// A file size limit: a typed error instead of death by SIGXFSZ.
TEST(StoreLimitSystemTest, FileSizeLimitIsNoSpace) {
  TempDir folder;
  const ChildEnd end = in_child([&] {
    const rlimit limit{8 * 1024 * 1024, 8 * 1024 * 1024};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return std::string("no limit");
    const auto engine = open_engine();
    Store store(*engine, options_for({folder.path()}));
    const SectionId id = store.reserve(Sizes{MiB}, 1, 1);
    std::string said;
    try {
      store.reserve(Sizes(8, MiB), 1, 1);
      said = "reserved beyond the limit";
    } catch (const Error& error) {
      said = fmt::format("{}: {}", to_string(error.code()), error.what());
    }
    if (const auto result = write(store, id, 1); !result) said += result.message();
    return said;
  });
  EXPECT_TRUE(end.clean()) << "status " << end.status;
  EXPECT_THAT(end.said, testing::StartsWith("no_space: "));
  EXPECT_THAT(end.said, HasSubstr("RLIMIT_FSIZE"));
  EXPECT_THAT(end.said, HasSubstr(folder.text()));
  EXPECT_THAT(folder.names(), IsEmpty());
}

// A file system in memory that has room for what is added, but not for what a volume grows ahead.
TEST(StoreLimitSystemTest, AVolumeInMemoryTakesWhatStillFits) {
  const LoopMount mount("tmpfs", 256 * MiB);
  if (!mount.mounted()) GTEST_SKIP() << mount.reason();
  const MemoryGroup group;
  if (!group.made()) GTEST_SKIP() << "no memory control group can be made here";
  const ChildEnd end = in_child([&]() -> std::string {
    if (!group.enter()) return "no way into the group";
    const auto engine = open_engine();
    Volume volume(*engine, options_for({mount.path()}));
    const std::int64_t room = sys::memory_limits().cgroup_available;
    if (room < 16 * MiB || room > MemoryGroup::bytes) return "the group is not in force";
    volume.add(align_down(room - 8 * MiB, page_bytes));
    return std::string(to_string(error_from([&] { volume.add(MemoryGroup::bytes); }).code()));
  });
  EXPECT_TRUE(end.clean()) << "status " << end.status;
  EXPECT_EQ(end.said, "does_not_fit");
}

// ramfs knows no fallocate: it works, and says that nothing is promised.
TEST(StoreLimitSystemTest, WithoutFallocateNothingIsPromised) {
  TempDir folder;
  if (::geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  if (::mount("ramfs", folder.path().c_str(), "ramfs", 0, nullptr) != 0) {
    GTEST_SKIP() << "ramfs cannot be mounted";
  }
  {
    const auto engine = open_engine();
    Store store(*engine, options_for({folder.path()}));
    EXPECT_FALSE(store.report()[0].space_guaranteed);
    EXPECT_THAT(store.report()[0].space_reason, HasSubstr("fallocate"));
    EXPECT_TRUE(store.report()[0].memory);
    const SectionId id = store.reserve(Sizes{100'000}, 1, 1);
    EXPECT_TRUE(write(store, id, 1));
    EXPECT_TRUE(reads(store, id, 1));
  }
  EXPECT_THAT(folder.names(), IsEmpty());
  ::umount2(folder.path().c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace spillway::store
