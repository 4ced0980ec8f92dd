#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace spillway::tool {

/// One line of /proc/self/mountinfo.
struct Mount {
  std::string point = {}, type = {}, source = {},
              options = {};  ///< options of the mount and of the file system
  dev_t device = 0;          ///< as stat() tells for files in it; may be anonymous
};

/// The mount that `path` (absolute, without links) lies on, from the text of a mountinfo.
std::optional<Mount> mount_of(std::string_view mountinfo, const std::filesystem::path& path);

/// What a device has moved since boot, whoever asked for it. [bytes]
struct DeviceCounters {
  std::int64_t read_bytes = 0, written_bytes = 0;
};

/// The whole disk under a file system, by sysfs.
struct BlockDevice {
  std::string name = {};       ///< "nvme0n1"; a partition's disk
  std::string model = {};      ///< as the device tells it; else the driver
  std::string driver = {};     ///< "nvme", "virtio_blk"; empty: unknown
  std::string scheduler = {};  ///< the one in use
  std::int64_t bytes = 0;
  std::int64_t max_sectors_kb = -1, max_segments = -1, queue_requests = -1;
  int numa_node = -1;
  bool rotational = false;
  /// Some host's software stands behind it: its rate is that host's affair.
  bool is_virtual = false;
  /// It keeps its data in this machine's memory or in a file (zram, brd, loop).
  bool in_memory = false;
  std::filesystem::path sysfs = {};  ///< its folder

  /// Nullopt where the kernel does not count.
  std::optional<DeviceCounters> counters() const;
};

/// Nullopt where there is none (tmpfs, overlay, a network). `sys` is /sys, but for tests.
std::optional<BlockDevice> block_device(dev_t device, const std::filesystem::path& sys = "/sys");

}  // namespace spillway::tool
