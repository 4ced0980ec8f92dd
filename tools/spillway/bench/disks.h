#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/block_device.h"
#include "bench/machine_report.h"

namespace spillway::tool {

/// Of the disks' counters more than that may be missing, for they lag.
inline constexpr double counter_slack_share = 0.01;
inline constexpr std::int64_t counter_slack_bytes = 1024 * 1024;
/// What is wrong with a claim of that many bytes; empty: nothing, or nobody counts.
std::string above_counters(std::int64_t bytes_read, std::int64_t bytes_written,
                           const std::optional<DeviceCounters>& moved);

/// Refuses what the file systems of some places cannot hold together, before anything is written.
/// `what`: "the state of 3 variants". Throws Error: no_space.
void require_space(const std::vector<Place>& places, std::int64_t bytes, std::string_view what);

/// The whole disks under some places, each counted once.
class Disks {
 public:
  explicit Disks(const std::vector<Place>& places);

  /// All together; nullopt where one of them, or what stands in its place, does not count.
  std::optional<DeviceCounters> counters() const;
  /// What they have moved since `before`, whoever asked for it.
  std::optional<DeviceCounters> moved_since(const std::optional<DeviceCounters>& before) const;

 private:
  std::vector<BlockDevice> disks_;
  bool all_counted_ = true;
};

}  // namespace spillway::tool
