#pragma once

#include <filesystem>
#include <string>

namespace spillway::tool {

/// A file for a result that takes long: that it cannot be written is told at the start, and what
/// stood in it stays until there is something to write. Of a run that fails nothing is left.
class PromisedFile {
 public:
  /// Makes it, empty, where it is not there. Throws Error: permission_denied, not_found, no_space,
  /// io_error.
  explicit PromisedFile(std::filesystem::path file);
  ~PromisedFile();
  PromisedFile(const PromisedFile&) = delete;
  PromisedFile& operator=(const PromisedFile&) = delete;

  void write(const std::string& text);

 private:
  std::filesystem::path file_;
  bool made_ = false;  // here, and not yet written
};

/// Writes `text` to a file that was not there, or over it.
/// Throws Error: permission_denied, not_found, no_space, io_error.
void write_file(const std::filesystem::path& file, const std::string& text);

}  // namespace spillway::tool
