#include "io/probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/align.h"
#include "support/temporary_file.h"

#include "spillway/error.h"

namespace spillway::io {
namespace {

bool is_direct(int fd) { return (::fcntl(fd, F_GETFL) & O_DIRECT) != 0; }

TEST(ProbeTest, ADiskIsProvenDirectByItsCounters) {
  const sys::UniqueFd fd = temporary_file(2 * MiB);
  sys::FileFacts facts;
  ASSERT_EQ(sys::file_facts(fd.get(), facts), 0);
  if (facts.is_memory) GTEST_SKIP() << "the current directory is in memory";
  const FileProbe probe = probe_file(fd.get(), Switch::automatic, "data file");
  EXPECT_EQ(probe.facts.fs_name, facts.fs_name);
  EXPECT_GE(probe.alignment, 4096);
  EXPECT_EQ(probe.direct, is_direct(fd.get()));
  EXPECT_EQ(probe.dsync, !probe.direct);
  sys::DeviceCounters counters;
  if (facts.fs_name != "ext4" || !sys::device_counters(facts.device, counters))
    GTEST_SKIP() << facts.fs_name << ": " << probe.how;
  EXPECT_TRUE(probe.direct) << probe.how;
  EXPECT_NE(probe.how.find("the device counted"), std::string::npos) << probe.how;
  struct stat stat {};
  ASSERT_EQ(::fstat(fd.get(), &stat), 0);
  EXPECT_EQ(stat.st_size, 2 * MiB);
}

TEST(ProbeTest, OffMeansBufferedWithErrorsInTime) {
  const sys::UniqueFd fd = temporary_file(MiB, ".", O_DIRECT);
  const FileProbe probe = probe_file(fd.get(), Switch::off, "data file");
  EXPECT_FALSE(probe.direct);
  EXPECT_FALSE(is_direct(fd.get()));
  EXPECT_EQ(probe.dsync, !probe.facts.is_memory);
  EXPECT_EQ(probe.how, "io.direct is off");
}

TEST(ProbeTest, MemoryFileSystemsAreBufferedAndSayWhy) {
  const sys::UniqueFd fd = temporary_file(MiB, "/dev/shm");
  const FileProbe probe = probe_file(fd.get(), Switch::automatic, "data file");
  EXPECT_FALSE(probe.direct);
  EXPECT_FALSE(probe.dsync);
  EXPECT_TRUE(probe.facts.is_memory);
  EXPECT_EQ(probe.how, "tmpfs keeps data in memory");
  try {
    probe_file(fd.get(), Switch::on, "/dev/shm/x");
    ADD_FAILURE() << "tmpfs passed as direct";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::unsupported);
    EXPECT_NE(std::string(error.what()).find("/dev/shm/x"), std::string::npos);
  }
}

}  // namespace
}  // namespace spillway::io
