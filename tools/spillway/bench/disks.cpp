#include "bench/disks.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "demo_report.h"

#include "spillway/error.h"

namespace spillway::tool {

std::string above_counters(std::int64_t bytes_read, std::int64_t bytes_written,
                           const std::optional<DeviceCounters>& moved) {
  if (!moved) return {};
  const auto above = [](std::int64_t claimed, std::int64_t counted) {
    return static_cast<double>(claimed) > static_cast<double>(counted) * (1 + counter_slack_share) +
                                              static_cast<double>(counter_slack_bytes);
  };
  const auto line = [](const char* what, std::int64_t claimed, std::int64_t counted) {
    return fmt::format("{} bytes seem to have been {}, but the disks moved only {}", claimed, what,
                       counted);
  };
  if (above(bytes_read, moved->read_bytes)) return line("read", bytes_read, moved->read_bytes);
  if (above(bytes_written, moved->written_bytes))
    return line("written", bytes_written, moved->written_bytes);
  return {};
}

void require_space(const std::vector<Place>& places, std::int64_t bytes, std::string_view what) {
  std::vector<dev_t> seen;
  std::int64_t left = 0;
  for (const Place& place : places) {
    struct stat status {};
    struct statvfs space {};
    if (::stat(place.path.c_str(), &status) != 0 || ::statvfs(place.path.c_str(), &space) != 0)
      return;  // whoever uses the path tells why better
    if (std::ranges::find(seen, status.st_dev) != seen.end()) continue;
    seen.push_back(status.st_dev);
    left += static_cast<std::int64_t>(space.f_bavail * space.f_frsize);
  }
  if (bytes <= left) return;
  throw Error(
      Errc::no_space,
      fmt::format("{}: {} are needed for {}, and {} are free; make room, give another "
                  "--nvme-path, or less to do (--layers)",
                  places.front().path, demo::bytes_text(bytes), what, demo::bytes_text(left)));
}

Disks::Disks(const std::vector<Place>& places) {
  for (const Place& place : places) {
    if (!place.device || !place.device->counters()) {
      all_counted_ = false;
    } else if (std::ranges::find(disks_, place.device->sysfs, &BlockDevice::sysfs) ==
               disks_.end()) {
      disks_.push_back(*place.device);
    }
  }
}

std::optional<DeviceCounters> Disks::counters() const {
  if (!all_counted_) return std::nullopt;
  DeviceCounters sum;
  for (const BlockDevice& disk : disks_) {
    const auto counted = disk.counters();
    if (!counted) return std::nullopt;
    sum.read_bytes += counted->read_bytes;
    sum.written_bytes += counted->written_bytes;
  }
  return sum;
}

std::optional<DeviceCounters> Disks::moved_since(
    const std::optional<DeviceCounters>& before) const {
  const auto after = counters();
  if (!before || !after) return std::nullopt;
  return DeviceCounters{.read_bytes = after->read_bytes - before->read_bytes,
                        .written_bytes = after->written_bytes - before->written_bytes};
}

}  // namespace spillway::tool
