#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace spillway::test {

/// A data file of this process, opened a second time through /proc, as any process of this user
/// may, although it has no name any more.
class OpenDataFile {
 public:
  /// Requires: one data file lies under `folder`.
  explicit OpenDataFile(const std::filesystem::path& folder) {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string to = std::filesystem::read_symlink(entry.path(), gone).string();
      struct stat facts {};
      if (gone || !to.starts_with(folder.string() + "/")) continue;
      if (::stat(entry.path().c_str(), &facts) == 0 && S_ISREG(facts.st_mode))
        found.push_back(entry.path().string());
    }
    EXPECT_EQ(found.size(), 1u) << "data files under " << folder;
    if (!found.empty()) fd_ = ::open(found[0].c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_GE(fd_, 0);
  }
  OpenDataFile(OpenDataFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~OpenDataFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  std::int64_t size() const {
    struct stat facts {};
    ::fstat(fd_, &facts);
    return facts.st_size;
  }
  std::vector<char> contents() const {
    std::vector<char> bytes(static_cast<std::size_t>(size()));
    EXPECT_EQ(::pread(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return bytes;
  }
  /// Undoes a change that made `good` into `changed`, but for what has been written since.
  void undo(const std::vector<char>& changed, const std::vector<char>& good) const {
    constexpr std::size_t page = 4096;
    EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(good.size())), 0);
    const std::vector<char> now = contents();
    for (std::size_t at = 0; at < good.size(); at += page) {
      std::vector<char> then(page, 0);  // behind the end of a file that was cut: zeros
      for (std::size_t i = 0; i < page && at + i < changed.size(); ++i) then[i] = changed[at + i];
      if (!std::equal(then.begin(), then.end(), now.data() + at)) continue;
      EXPECT_EQ(::pwrite(fd_, good.data() + at, page, static_cast<off_t>(at)),
                static_cast<ssize_t>(page));
    }
    ::fsync(fd_);
  }
  void put(const std::vector<char>& bytes) const {
    EXPECT_EQ(::pwrite(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    ::fsync(fd_);
  }
  void cut(std::int64_t size) const { EXPECT_EQ(::ftruncate(fd_, size), 0); }
  /// Cut, and as long as before: sparse, or allocated.
  void cut_and_grow(std::int64_t cut_at, bool allocated) const {
    const std::int64_t before = size();
    cut(cut_at);
    if (allocated) {
      EXPECT_EQ(::fallocate(fd_, 0, 0, before), 0);
    } else {
      cut(before);
    }
  }

 private:
  int fd_ = -1;
};

}  // namespace spillway::test
