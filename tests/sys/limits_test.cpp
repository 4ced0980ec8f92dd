#include "sys/limits.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/align.h"
#include "support/child_process.h"
#include "sys/host_memory.h"
#include "sys/text_file.h"

namespace spillway::sys {
namespace {

TEST(LimitsTest, ThisMachinesFiguresAreInOrder) {
  const MemoryLimits limits = memory_limits();
  EXPECT_GT(limits.available, 16 * MiB);
  EXPECT_LT(limits.available, std::int64_t{1} << 50);
  EXPECT_GE(limits.cgroup_available, 0);
  EXPECT_EQ(limits.cgroup_path.empty(), limits.cgroup_available == INT64_MAX);
  EXPECT_GE(limits.memlock, 0);
  EXPECT_GT(resident_bytes(), 1 * MiB);
  EXPECT_GE(peak_resident_bytes(), resident_bytes() / 2);
  EXPECT_GE(online_cpus(), 1);
}

TEST(LimitsTest, CountsOpenDescriptors) {
  const int before = open_descriptors();
  const int opened = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(open_descriptors(), before + 1);
  ::close(opened);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(LimitsTest, OnlineCpusAreThoseOfTheAffinityMask) {
  const ChildEnd end = in_child([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(::sched_getcpu(), &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return std::to_string(online_cpus());
  });
  EXPECT_EQ(end.said, "1");
}

TEST(LimitsTest, LimitsOfTheProcess) {
  const ChildEnd end = in_child([] {
    limit_locked_memory(1 * MiB);
    rlimit space{};
    ::getrlimit(RLIMIT_AS, &space);
    if (memory_limits().address_space != INT64_MAX && space.rlim_cur == RLIM_INFINITY)
      return std::string("unlimited address space was misread");
    return std::to_string(memory_limits().memlock);
  });
  EXPECT_EQ(end.said, std::to_string(1 * MiB));
}

TEST(LimitsTest, OnlyRootIsExemptFromTheLockLimit) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become an ordinary user";
  const ChildEnd end = in_child([] {
    become_nobody();
    return std::string(memory_limits().memlock_exempt ? "exempt" : "limited");
  });
  EXPECT_EQ(end.said, "limited");
}

TEST(TextFileTest, ReadsLinesAndNumbers) {
  const std::string text = "MemTotal: 1 kB\nMemAvailable:   24 kB\nlast: 7";
  EXPECT_EQ(leading_number(*line_with(text, "MemAvailable:")), 24);
  EXPECT_EQ(leading_number(*line_with(text, "last:")), 7);
  EXPECT_FALSE(line_with(text, "Available:"));
  EXPECT_FALSE(line_with("", "x"));
  for (const char* none : {"max", "", "   ", "18446744073709551615", "-"})
    EXPECT_FALSE(leading_number(none)) << none;
  EXPECT_EQ(read_text("/nonexistent/file"), "");
}

}  // namespace
}  // namespace spillway::sys
