// Control groups of made-up machines.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/align.h"
#include "sys/limits.h"

namespace spillway::sys {
namespace {

class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() {
    std::string name = "cgroup-test-XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) root_ = name;
  }
  ~CgroupTest() override {
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }

  void file(const std::string& path, const std::string& text) {
    const std::filesystem::path at = root_ + path;
    std::filesystem::create_directories(at.parent_path());
    std::ofstream(at) << text << '\n';
  }
  void group_v2(const std::string& at, const std::string& limit, std::int64_t use,
                std::int64_t inactive_file = 0) {
    file(at + "/memory.max", limit);
    file(at + "/memory.current", std::to_string(use));
    file(at + "/memory.stat", "anon 1\ninactive_anon 5\ninactive_file " +
                                  std::to_string(inactive_file) + "\nactive_file 9");
  }

  std::string root_;
};

TEST_F(CgroupTest, NoGroupsAreNoLimit) {
  EXPECT_EQ(cgroup_memory(root_).available, INT64_MAX);
  EXPECT_EQ(cgroup_memory(root_).path, "");
  file("/proc/self/cgroup", "0::/a\nbroken\n::");
  file("/proc/self/mountinfo", "too short - cgroup2\n");
  EXPECT_EQ(cgroup_memory(root_).available, INT64_MAX);
}

TEST_F(CgroupTest, V2TakesTheTightestAncestor) {
  file("/proc/self/cgroup", "0::/jobs/train");
  file("/proc/self/mountinfo",
       "24 20 0:5 / /proc rw - proc proc rw\n"
       "31 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate");
  group_v2("/sys/fs/cgroup/jobs/train", "max", 10 * MiB);
  group_v2("/sys/fs/cgroup/jobs", std::to_string(100 * MiB), 70 * MiB, 20 * MiB);
  EXPECT_EQ(cgroup_memory(root_).available, 50 * MiB);  // cache that is given back does not count
  EXPECT_EQ(cgroup_memory(root_).path, "/sys/fs/cgroup/jobs");

  group_v2("/sys/fs/cgroup/jobs/train", std::to_string(40 * MiB), 10 * MiB);
  EXPECT_EQ(cgroup_memory(root_).available, 30 * MiB);
  group_v2("/sys/fs/cgroup/jobs/train", std::to_string(40 * MiB), 50 * MiB);
  EXPECT_EQ(cgroup_memory(root_).available, 0);
}

TEST_F(CgroupTest, V2InANamespaceStandsAtTheMountPoint) {
  file("/proc/self/cgroup", "0::/");
  file("/proc/self/mountinfo", "31 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw");
  group_v2("/sys/fs/cgroup", std::to_string(64 * MiB), 4 * MiB);
  EXPECT_EQ(cgroup_memory(root_).available, 60 * MiB);
  EXPECT_EQ(cgroup_memory(root_).path, "/sys/fs/cgroup");
}

TEST_F(CgroupTest, V1InAContainerSeesItsGroupAtTheMountPoint) {
  file("/proc/self/cgroup", "5:cpu,cpuacct:/docker/ab12\n4:memory:/docker/ab12\n0::/");
  file("/proc/self/mountinfo",
       "30 25 0:25 /docker/ab12 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
       "31 25 0:26 /docker/ab12 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory");
  file("/sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(64 * MiB));
  file("/sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(24 * MiB));
  file("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 4194304");
  EXPECT_EQ(cgroup_memory(root_).available, 44 * MiB);
}

TEST_F(CgroupTest, V1WithoutALimitIsUnlimited) {
  file("/proc/self/cgroup", "4:memory:/a/b");
  file("/proc/self/mountinfo", "31 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory");
  file("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712");
  file("/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "4096");
  EXPECT_EQ(cgroup_memory(root_).available, INT64_MAX);
  file("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", std::to_string(8 * MiB));
  EXPECT_EQ(cgroup_memory(root_).available, 8 * MiB);
  EXPECT_EQ(cgroup_memory(root_).path, "/sys/fs/cgroup/memory/a");
}

}  // namespace
}  // namespace spillway::sys
