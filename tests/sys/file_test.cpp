#include "sys/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/align.h"
#include "support/page_memory.h"
#include "support/temporary_file.h"
#include "sys/limits.h"

namespace spillway::sys {
namespace {

TEST(UniqueFdTest, ClosesOnceAndMoves) {
  const int before = open_descriptors();
  {
    UniqueFd a = temporary_file(0);
    EXPECT_EQ(open_descriptors(), before + 1);
    const int number = a.get();
    UniqueFd b = std::move(a);
    EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(b.get(), number);
    b = temporary_file(0);
    EXPECT_EQ(open_descriptors(), before + 1);
    UniqueFd& same = b;
    b = std::move(same);
    EXPECT_TRUE(b);
    UniqueFd c(b.release());
    EXPECT_FALSE(b);
    c.reset();
    EXPECT_EQ(open_descriptors(), before);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(FileTest, MovesBytesAndReportsErrno) {
  const UniqueFd fd = temporary_file(0);
  const PageMemory memory(8192);
  std::memset(memory.data(), 7, 8192);
  for (const bool dsync : {false, true}) {
    EXPECT_EQ(write_at(fd.get(), memory.data(), 5000, 100, dsync), 5000);
    EXPECT_EQ(read_at(fd.get(), memory.data(), 8192, 100), 5000);
  }
  EXPECT_EQ(read_at(fd.get(), memory.data(), 8192, 100000), 0);
  EXPECT_EQ(read_at(-1, memory.data(), 1, 0), -EBADF);
  EXPECT_EQ(write_at(-1, memory.data(), 1, 0, true), -EBADF);
  EXPECT_EQ(write_at(fd.get(), memory.data(), 1, -5, false), -EINVAL);
}

TEST(FileTest, FactsOfFileSystems) {
  const UniqueFd shm = temporary_file(4096, "/dev/shm");
  FileFacts facts;
  ASSERT_EQ(file_facts(shm.get(), facts), 0);
  EXPECT_EQ(facts.fs_name, "tmpfs");
  EXPECT_TRUE(facts.is_memory);
  EXPECT_EQ(facts.size, 4096);

  const UniqueFd here = temporary_file(3 * 4096);
  ASSERT_EQ(file_facts(here.get(), facts), 0);
  struct stat stat {};
  ASSERT_EQ(::fstat(here.get(), &stat), 0);
  EXPECT_EQ(facts.device, stat.st_dev);
  EXPECT_EQ(facts.inode, stat.st_ino);
  EXPECT_EQ(facts.size, 3 * 4096);
  EXPECT_FALSE(facts.fs_name.empty());
  if (facts.fs_name == "ext4") {
    EXPECT_FALSE(facts.is_memory);
    EXPECT_FALSE(facts.is_btrfs);
  }
  EXPECT_EQ(file_facts(-1, facts), EBADF);

  std::int64_t free = -1;
  EXPECT_EQ(free_space(here.get(), free), 0);
  EXPECT_GT(free, 0);
  EXPECT_EQ(free_space(-1, free), EBADF);
}

TEST(FileTest, ThePageCacheIsCounted) {
  const UniqueFd fd = temporary_file(256 * KiB);
  const PageMemory memory(64 * KiB);
  std::memset(memory.data(), 1, 64 * KiB);
  ASSERT_EQ(write_at(fd.get(), memory.data(), 64 * KiB, 0, false), 64 * KiB);
  EXPECT_EQ(cached_bytes(fd.get(), 0, 64 * KiB), 64 * KiB);
  EXPECT_EQ(cached_bytes(-1, 0, 64 * KiB), -1);
}

TEST(FileTest, ErrnoIsSpelledOut) {
  EXPECT_EQ(errno_text(ENOSPC), "No space left on device (ENOSPC)");
  EXPECT_EQ(errno_text(99999), "error 99999");
}

}  // namespace
}  // namespace spillway::sys
