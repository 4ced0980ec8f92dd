#include <algorithm>
#include <array>
#include <vector>

#include "sys/limits.h"
#include "sys/text_file.h"

namespace spillway::sys {
namespace {

/// The file names of one version. v1 writes a number near 2^63 for "no limit", v2 "max".
struct Names {
  const char* limit;
  const char* use;
  const char* inactive_file;  ///< a key of memory.stat
};
constexpr Names v1{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file "};
constexpr Names v2{"/memory.max", "/memory.current", "inactive_file "};
constexpr std::int64_t v1_no_limit = INT64_MAX / 2;

struct Mount {
  std::string root;   ///< the group that stands at the mount point ("/docker/ab12", or "/")
  std::string point;  ///< where
};

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = text.find(by);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parts;
}

bool has(std::string_view list, std::string_view word) {
  const auto parts = split(list, ',');
  return std::find(parts.begin(), parts.end(), word) != parts.end();
}

/// The mount of the wanted hierarchy, from lines such as
/// `31 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate`.
Mount find_mount(std::string_view mountinfo, bool want_v2) {
  for (const auto line : split(mountinfo, '\n')) {
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto left = split(line.substr(0, dash), ' ');
    const auto right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const bool matches =
        want_v2 ? right[0] == "cgroup2" : right[0] == "cgroup" && has(right[2], "memory");
    if (matches) return {std::string(left[3]), std::string(left[4])};
  }
  return {};
}

void tighten(CgroupMemory& least, const std::string& root, const std::string& directory,
             const Names& names) {
  const auto limit = leading_number(read_text(root + directory + names.limit));
  if (!limit || *limit >= v1_no_limit) return;
  const auto use = leading_number(read_text(root + directory + names.use)).value_or(0);
  const std::string stat = read_text(root + directory + "/memory.stat");
  const auto inactive = line_with(stat, names.inactive_file);
  const auto cache = inactive ? leading_number(*inactive).value_or(0) : 0;
  const auto available = std::max<std::int64_t>(0, *limit - std::max<std::int64_t>(0, use - cache));
  if (available < least.available) least = {available, directory};
}

/// The group's directory, then each parent up to the mount point.
void walk_up(CgroupMemory& least, const std::string& root, const Mount& mount, std::string group,
             const Names& names) {
  // Without a cgroup namespace a container sees its own group at the mount point, but the path
  // from the machine's root in /proc/self/cgroup: the part that the mount hides is cut off.
  if (mount.root != "/" && group.starts_with(mount.root)) group.erase(0, mount.root.size());
  while (group.ends_with('/')) group.pop_back();
  for (;;) {
    tighten(least, root, mount.point + group, names);
    if (group.empty()) return;
    group.erase(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

}  // namespace

CgroupMemory cgroup_memory(const std::string& root) {
  CgroupMemory least;
  const std::string mountinfo = read_text(root + "/proc/self/mountinfo");
  const std::string groups = read_text(root + "/proc/self/cgroup");
  for (const auto line : split(groups, '\n')) {  // "4:memory:/a/b" (v1), "0::/a/b" (v2)
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && !has(controllers, "memory")) continue;
    const Mount mount = find_mount(mountinfo, is_v2);
    if (mount.point.empty()) continue;
    walk_up(least, root, mount, std::string(line.substr(second + 1)), is_v2 ? v2 : v1);
  }
  return least;
}

}  // namespace spillway::sys
