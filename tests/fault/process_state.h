#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace spillway::test {

/// Sanitizers keep freed memory and shadows of their own: resident bytes mean nothing there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// The descriptors of this process.
inline std::set<int> descriptors() {
  std::set<int> open;
  std::set<int> still;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    open.insert(std::stoi(entry.path().filename().string()));
  for (const int fd : open)  // the directory that was read is closed by now
    if (std::filesystem::exists(
            std::filesystem::symlink_status("/proc/self/fd/" + std::to_string(fd))))
      still.insert(fd);
  return still;
}

inline std::int64_t resident_bytes() {
  std::int64_t ignored = 0, pages = 0;
  std::ifstream("/proc/self/statm") >> ignored >> pages;
  return pages * 4096;
}

/// The VmFlags of the mapping that holds `at`, as /proc/self/smaps has them; empty: no such
/// mapping.
inline std::string vm_flags(const void* at) {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t from = 0, to = 0;
    char dash = 0;
    std::istringstream words(line);
    if (line.find("VmFlags:") == 0) {
      if (inside) return line.substr(8) + " ";
    } else if (words >> std::hex >> from >> dash >> to && dash == '-') {
      inside = from <= address && address < to;
    }
  }
  return {};
}

}  // namespace spillway::test
