#include "sys/host_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/align.h"
#include "support/child_process.h"
#include "sys/limits.h"
#include "sys/text_file.h"

namespace spillway::sys {
namespace {

/// One mapping of the kernel's, given back at the end.
class Mapping {
 public:
  explicit Mapping(std::int64_t bytes, std::int64_t alignment = huge_page_bytes) : bytes_(bytes) {
    error = host_memory().map(bytes, alignment, at);
  }
  ~Mapping() {
    if (error == 0) host_memory().unmap(at, bytes_);
  }
  std::byte* at = nullptr;
  int error = 0;

 private:
  std::int64_t bytes_;
};

bool mapped(const std::byte* page) {
  unsigned char resident = 0;
  return ::mincore(const_cast<std::byte*>(page), page_bytes, &resident) == 0 || errno != ENOMEM;
}

std::int64_t virtual_bytes() {
  const std::string status = read_text("/proc/self/status");
  return leading_number(*line_with(status, "VmSize:")).value() * KiB;
}

/// "Name: ..." of the smaps entry that holds `at`, for what only the kernel knows.
std::string smaps_line(const std::byte* at, const std::string& key) {
  std::ifstream smaps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long from = 0, to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &from, &to) == 2) {
      const auto address = reinterpret_cast<unsigned long>(at);
      here = from <= address && address < to;
    } else if (here && line.starts_with(key)) {
      return line;
    }
  }
  return {};
}

TEST(HostMemoryTest, MapsExactlyWhatIsAskedOnTheAlignment) {
  virtual_bytes();  // the first call grows the heap
  for (const std::int64_t bytes : {4 * KiB, 2 * MiB, 6 * MiB + 4 * KiB}) {
    for (const std::int64_t alignment : {page_bytes, 64 * KiB, huge_page_bytes}) {
      const std::int64_t before = virtual_bytes();
      const Mapping mapping(bytes, alignment);
      ASSERT_EQ(mapping.error, 0);
      EXPECT_EQ(reinterpret_cast<std::int64_t>(mapping.at) % alignment, 0);
      EXPECT_EQ(virtual_bytes() - before, bytes);
      EXPECT_TRUE(mapped(mapping.at));
      EXPECT_TRUE(mapped(mapping.at + bytes - page_bytes));
      mapping.at[0] = mapping.at[bytes - 1] = std::byte{1};
    }
  }
}

TEST(HostMemoryTest, WhatNoMachineHasIsAnErrno) {
  EXPECT_EQ(Mapping(std::int64_t{1} << 50).error, ENOMEM);
  EXPECT_EQ(Mapping(INT64_MAX - page_bytes + 1).error, ENOMEM);
}

TEST(HostMemoryTest, PopulateGivesFramesAndKeepsContents) {
  const Mapping mapping(8 * MiB);
  mapping.at[5 * MiB + 17] = std::byte{42};
  ASSERT_EQ(host_memory().populate(mapping.at, 8 * MiB), 0);
  std::vector<unsigned char> resident(8 * MiB / page_bytes);
  ASSERT_EQ(::mincore(mapping.at, 8 * MiB, resident.data()), 0);
  EXPECT_TRUE(std::all_of(resident.begin(), resident.end(), [](auto page) { return page & 1; }));
  EXPECT_EQ(mapping.at[5 * MiB + 17], std::byte{42});
}

TEST(HostMemoryTest, LocksAndUnlocks) {
  if (!memory_limits().memlock_exempt) GTEST_SKIP() << "needs CAP_IPC_LOCK";
  const std::int64_t before = locked_bytes();
  const Mapping mapping(4 * MiB);
  ASSERT_EQ(host_memory().lock(mapping.at, 4 * MiB), 0);
  EXPECT_EQ(locked_bytes() - before, 4 * MiB);
  host_memory().unlock(mapping.at, 4 * MiB);
  EXPECT_EQ(locked_bytes(), before);
}

TEST(HostMemoryTest, AnOrdinaryUsersLockIsRefusedWithAnErrno) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become an ordinary user";
  for (const std::int64_t limit : {std::int64_t{0}, 1 * MiB}) {
    const ChildEnd end = in_child([limit] {
      limit_locked_memory(limit);
      become_nobody();
      const Mapping mapping(4 * MiB);
      return std::to_string(host_memory().lock(mapping.at, 4 * MiB));
    });
    EXPECT_EQ(end.said, std::to_string(limit == 0 ? EPERM : ENOMEM));
  }
}

TEST(HostMemoryTest, AdviceReachesTheKernel) {
  const Mapping mapping(4 * MiB);
  EXPECT_EQ(host_memory().advise_dont_fork(mapping.at, 4 * MiB), 0);
  EXPECT_EQ(host_memory().advise_dont_dump(mapping.at, 4 * MiB), 0);
  const std::string flags = smaps_line(mapping.at, "VmFlags:");
  EXPECT_NE(flags.find(" dc"), std::string::npos) << flags;  // not copied on fork
  EXPECT_NE(flags.find(" dd"), std::string::npos) << flags;  // not in core dumps
  mapping.at[0] = std::byte{42};
  const ChildEnd end = in_child([&] {  // a sanitizer may map pages of its own in the gap
    return std::string(mapped(mapping.at) && mapping.at[0] == std::byte{42} ? "there" : "absent");
  });
  EXPECT_EQ(end.said, "absent");
}

TEST(HostMemoryTest, CountsHugePagesOfItsRangeAlone) {
  const std::string mode = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  if (mode.empty() || mode.find("[never]") != std::string::npos)
    GTEST_SKIP() << "transparent huge pages are switched off";
  const Mapping small(4 * MiB), huge(8 * MiB);
  ASSERT_EQ(host_memory().advise_small(small.at, 4 * MiB), 0);
  ASSERT_EQ(host_memory().advise_huge(huge.at, 8 * MiB), 0);
  EXPECT_EQ(host_memory().huge_bytes(huge.at, 8 * MiB), 0);  // nothing is populated yet
  ASSERT_EQ(host_memory().populate(small.at, 4 * MiB), 0);
  ASSERT_EQ(host_memory().populate(huge.at, 8 * MiB), 0);
  EXPECT_EQ(host_memory().huge_bytes(small.at, 4 * MiB), 0);
  const std::int64_t got = host_memory().huge_bytes(huge.at, 8 * MiB);
  EXPECT_EQ(got % huge_page_bytes, 0);
  EXPECT_LE(got, 8 * MiB);
  if (got == 0) GTEST_SKIP() << "memory is too fragmented for a huge page";
  EXPECT_LE(host_memory().huge_bytes(huge.at, 2 * MiB), 2 * MiB);
}

TEST(HostMemoryTest, HugeBytesOfNoMappingAreUnknown) {
  std::byte* gone = nullptr;
  { gone = Mapping(4 * MiB).at; }
  EXPECT_EQ(host_memory().huge_bytes(gone, 4 * MiB), -1);
}

TEST(HostMemoryTest, BindsToANode) {
  const Mapping mapping(1 * MiB);
  const int error = host_memory().bind_node(mapping.at, 1 * MiB, 0);
  if (error == ENOSYS || error == EPERM) GTEST_SKIP() << "mbind is not allowed here";
  EXPECT_EQ(error, 0);
  EXPECT_EQ(host_memory().populate(mapping.at, 1 * MiB), 0);
  EXPECT_EQ(host_memory().bind_node(mapping.at, 1 * MiB, 900), EINVAL);
  EXPECT_EQ(host_memory().bind_node(mapping.at, 1 * MiB, -1), EINVAL);
  EXPECT_EQ(host_memory().bind_node(mapping.at, 1 * MiB, 1 << 20), EINVAL);
}

TEST(HostMemoryTest, HugetlbPagesComeFromThePool) {
  const std::string directory = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
  const auto pages = [&](const char* file) {
    return leading_number(read_text(directory + file)).value_or(0);
  };
  std::byte* at = nullptr;
  const std::int64_t unpromised = pages("free_hugepages") - pages("resv_hugepages");
  EXPECT_EQ(host_memory().map_hugetlb((unpromised + 1) * huge_page_bytes, at), ENOMEM);
  if (unpromised < 2) GTEST_SKIP() << "fewer than 2 hugetlb pages are free (vm.nr_hugepages)";
  ASSERT_EQ(host_memory().map_hugetlb(2 * huge_page_bytes, at), 0);
  EXPECT_EQ(host_memory().populate(at, 2 * huge_page_bytes), 0);
  EXPECT_EQ(host_memory().huge_bytes(at, 2 * huge_page_bytes), 2 * huge_page_bytes);
  host_memory().unmap(at, 2 * huge_page_bytes);
}

}  // namespace
}  // namespace spillway::sys
