#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "config/json_value.h"
#include "config/problems.h"

#include "spillway/config.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

// As messages name it: relative ones with the place that they were taken from.
std::string named(const fs::path& path) {
  std::string name = config::in_quotes(path.string());
  if (path.is_absolute() || path.empty()) return name;
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  return error ? name : fmt::format("{} (that is {})", name, config::in_quotes(whole.string()));
}

struct Seen {
  dev_t device;
  ino_t inode;
  std::size_t index;
};

// What is wrong with `path`; nullopt, and `seen`, for a directory that we may write into.
std::optional<std::string> trouble_with(const fs::path& path, Seen& seen) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) {
    const int error = errno;
    if (error != ENOENT)
      return fmt::format("{} cannot be looked at: {}", named(path),
                         std::generic_category().message(error));
    if (path.string().starts_with('~'))
      return fmt::format("{} does not exist; ~ is not expanded here, write the path out",
                         named(path));
    return fmt::format("{} does not exist; make the directory first, or name another", named(path));
  }
  if (S_ISBLK(facts.st_mode))
    return fmt::format("{} is a block device; make a file system on it and name a directory there",
                       named(path));
  if (!S_ISDIR(facts.st_mode))
    return fmt::format("{} is not a directory; name the directory to put files into", named(path));
  // By the effective user, as the store will open its files.
  if (::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    const int error = errno;
    if (error == EROFS)
      return fmt::format("{} is on a read-only file system; remount it or name another",
                         named(path));
    return fmt::format(
        "{} may not be written by user {}: {}; change its owner or mode, or name "
        "another",
        named(path), ::geteuid(), std::generic_category().message(error));
  }
  seen.device = facts.st_dev;
  seen.inode = facts.st_ino;
  return std::nullopt;
}

void check_section(std::string_view section, const std::vector<fs::path>& paths,
                   config::Problems& problems) {
  std::vector<Seen> all_seen;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const std::string at = paths.size() == 1 ? fmt::format("{}.nvme_path", section)
                                             : fmt::format("{}.nvme_path[{}]", section, i);
    Seen seen{0, 0, i};
    if (auto trouble = trouble_with(paths[i], seen)) {
      problems.add(at, std::move(*trouble));
      continue;
    }
    for (const Seen& other : all_seen) {
      if (other.device != seen.device || other.inode != seen.inode) continue;
      problems.add(at, fmt::format("{} is the same directory as [{}], {}; give each once",
                                   named(paths[i]), other.index, named(paths[other.index])));
      break;
    }
    all_seen.push_back(seen);
  }
}

}  // namespace

void check_paths(const Config& config) {
  config::Problems problems;
  if (config.offload_param.device == OffloadDevice::nvme)
    check_section("offload_param", config.offload_param.nvme_path, problems);
  if (config.offload_optimizer.device == OffloadDevice::nvme)
    check_section("offload_optimizer", config.offload_optimizer.nvme_path, problems);
  problems.throw_if_any("config");
}

}  // namespace spillway
