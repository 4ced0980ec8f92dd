#pragma once

#include <filesystem>

namespace spillway::tool {

/// A fresh directory under `parent`, removed with whatever is in it.
class ScratchDirectory {
 public:
  /// Throws Error: permission_denied, not_found, no_space, io_error.
  explicit ScratchDirectory(const std::filesystem::path& parent = ".");
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace spillway::tool
