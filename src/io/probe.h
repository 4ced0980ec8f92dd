#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sys/file.h"

#include "spillway/config.h"

namespace spillway::io {

/// What one open data file can do, found by doing it.
struct FileProbe {
  sys::FileFacts facts;
  bool direct = false;            ///< O_DIRECT is on and really bypasses the page cache
  std::string how;                ///< the proof, or why not: one line
  std::int64_t alignment = 4096;  ///< max(4096, what the file system asks for)
  bool dsync = false;             ///< buffered on a disk: write with RWF_DSYNC
};

/// Turns O_DIRECT on (fcntl) where `want` allows it, proves it with an aligned write and read in
/// the first MiB, and says what is in force. The file is at least 1 MiB of preallocated space and
/// its contents there are lost. `want == on` and refused: Error unsupported naming `name`.
/// Must run where signals are blocked (Engine::call).
FileProbe probe_file(int fd, Switch want, const std::string& name);

}  // namespace spillway::io
