#include "bench/block_device.h"

#include <fmt/core.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <sstream>
#include <system_error>

namespace spillway::tool {
namespace {

constexpr std::int64_t sector_bytes = 512;  // of sysfs, whatever the device's are

std::string first_line(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\n')) line.pop_back();
  return line;
}

std::int64_t number_in(const std::filesystem::path& file, std::int64_t otherwise) {
  const std::string line = first_line(file);
  std::int64_t value = otherwise;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  return error == std::errc() ? value : otherwise;
}

// "none [mq-deadline] kyber": the one in brackets.
std::string chosen(const std::string& line) {
  const std::size_t open = line.find('['), close = line.find(']');
  return open == std::string::npos || close == std::string::npos || close < open
             ? line
             : line.substr(open + 1, close - open - 1);
}

// Models of disks that hypervisors make.
bool names_a_hypervisor(std::string_view text) {
  constexpr std::array<std::string_view, 9> marks{"QEMU",           "VMware",         "Virtual",
                                                  "VBOX",           "Msft",           "Google",
                                                  "PersistentDisk", "Amazon Elastic", "Xen"};
  return std::ranges::any_of(
      marks, [&](std::string_view mark) { return text.find(mark) != std::string_view::npos; });
}

// mountinfo writes a space as \040.
std::string unescaped(std::string_view field) {
  std::string text;
  for (std::size_t i = 0; i < field.size(); ++i) {
    int value = 0;
    if (field[i] == '\\' && i + 3 < field.size() &&
        std::from_chars(field.data() + i + 1, field.data() + i + 4, value, 8).ec == std::errc()) {
      text += static_cast<char>(value);
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

std::string link_name(const std::filesystem::path& link) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(link, error);
  return error ? "" : target.filename().string();
}

// Of a disk, or of what it is stacked on (dm, md).
bool virtual_below(const BlockDevice& device, const std::filesystem::path& sys, int depth) {
  if (device.driver.starts_with("virtio") || device.name.starts_with("xvd") ||
      names_a_hypervisor(device.model))
    return true;
  if (depth == 0) return false;
  std::error_code error;
  for (const auto& slave : std::filesystem::directory_iterator(device.sysfs / "slaves", error)) {
    unsigned major = 0, minor = 0;
    char colon = 0;
    std::istringstream numbers(first_line(slave.path() / "dev"));
    if (!(numbers >> major >> colon >> minor)) continue;
    const auto below = block_device(::makedev(major, minor), sys);
    if (below && virtual_below(*below, sys, depth - 1)) return true;
  }
  return false;
}

}  // namespace

std::optional<Mount> mount_of(std::string_view mountinfo, const std::filesystem::path& path) {
  std::optional<Mount> best;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, numbers, root, point, options, word;
    if (!(fields >> id >> parent >> numbers >> root >> point >> options)) continue;
    while (fields >> word && word != "-") {
    }
    Mount mount;
    std::string super;
    if (!(fields >> mount.type >> mount.source >> super)) continue;
    mount.point = unescaped(point);
    mount.source = unescaped(mount.source);
    mount.options = options + (super.empty() ? "" : "," + super);
    const std::string prefix = mount.point == "/" ? "/" : mount.point + "/";
    if (!(path.string() + "/").starts_with(prefix)) continue;
    // Of several mounts on one point the last is on top.
    if (best && best->point.size() > mount.point.size()) continue;
    unsigned major = 0, minor = 0;
    char colon = 0;
    std::istringstream(numbers) >> major >> colon >> minor;
    mount.device = ::makedev(major, minor);
    best = mount;
  }
  return best;
}

std::optional<DeviceCounters> BlockDevice::counters() const {
  // Fields 3 and 7: sectors read, sectors written.
  std::ifstream stream(sysfs / "stat");
  std::array<std::int64_t, 7> fields{};
  for (std::int64_t& field : fields)
    if (!(stream >> field)) return std::nullopt;
  if (number_in(sysfs / "queue" / "iostats", 1) == 0) return std::nullopt;
  return DeviceCounters{.read_bytes = fields[2] * sector_bytes,
                        .written_bytes = fields[6] * sector_bytes};
}

std::optional<BlockDevice> block_device(dev_t device, const std::filesystem::path& sys) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::canonical(
      sys / "dev" / "block" / fmt::format("{}:{}", ::major(device), ::minor(device)), error);
  if (error) return std::nullopt;
  if (std::filesystem::exists(folder / "partition", error)) folder = folder.parent_path();

  BlockDevice found;
  found.sysfs = folder;
  found.name = folder.filename().string();
  found.driver = link_name(folder / "device" / "driver");
  // NVMe: the controller stands between the disk and the PCI device.
  if (found.driver.empty()) found.driver = link_name(folder / "device" / "device" / "driver");
  found.model = first_line(folder / "device" / "model");
  if (const std::string vendor = first_line(folder / "device" / "vendor");
      !vendor.empty() && !vendor.starts_with("0x"))
    found.model = vendor + " " + found.model;
  while (found.model.ends_with(' ')) found.model.pop_back();
  found.scheduler = chosen(first_line(folder / "queue" / "scheduler"));
  found.bytes = number_in(folder / "size", 0) * sector_bytes;
  found.max_sectors_kb = number_in(folder / "queue" / "max_sectors_kb", -1);
  found.max_segments = number_in(folder / "queue" / "max_segments", -1);
  found.queue_requests = number_in(folder / "queue" / "nr_requests", -1);
  found.rotational = number_in(folder / "queue" / "rotational", 0) == 1;
  for (const char* place : {"device/numa_node", "device/device/numa_node"})
    if (found.numa_node < 0) found.numa_node = static_cast<int>(number_in(folder / place, -1));
  found.in_memory = found.name.starts_with("zram") || found.name.starts_with("ram") ||
                    found.name.starts_with("loop");
  found.is_virtual = virtual_below(found, sys, 3);
  return found;
}

}  // namespace spillway::tool
