#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

namespace spillway {

/// Takes all the space that is left in a file system, and gives it back.
class Hog {
 public:
  explicit Hog(const std::filesystem::path& folder) : file_(folder / "hog") {
    const int fd = ::open(file_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    off_t end = 0;
    for (off_t piece = 8 * 1024 * 1024; fd >= 0 && piece >= 4096;)
      ::fallocate(fd, 0, end, piece) == 0 ? end += piece : piece /= 2;
    ::close(fd);
  }
  void leave() { std::filesystem::remove(file_); }

 private:
  std::filesystem::path file_;
};

}  // namespace spillway
