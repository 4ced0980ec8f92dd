#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

#include "sys/file.h"

namespace spillway {

/// A file without a name in `folder` (default: the current one), gone with its descriptor.
inline sys::UniqueFd temporary_file(std::int64_t bytes, const std::string& folder = ".",
                                    int flags = 0) {
  sys::UniqueFd fd{::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600)};
  if (!fd) {  // a file system without O_TMPFILE
    std::string name = folder + "/spillway-test-XXXXXX";
    fd = sys::UniqueFd{::mkostemp(name.data(), O_CLOEXEC | flags)};
    if (!fd) throw std::system_error(errno, std::generic_category(), folder);
    ::unlink(name.c_str());
  }
  if (bytes > 0 && ::posix_fallocate(fd.get(), 0, bytes) != 0)
    throw std::runtime_error("cannot allocate a file of " + std::to_string(bytes) + " bytes");
  return fd;
}

}  // namespace spillway
