#pragma once

#include <cstdint>

#include "memory/pinned_region.h"
#include "peer.h"
#include "sys/file.h"

namespace spillway::bench {

/// What the plain peers stand on: one preallocated file, written once with zeros, open for direct
/// I/O where the file system allows it; and locked buffers in huge pages.
class PlainFile {
 public:
  PlainFile(const StepShape& shape, const char* name);

  int fd() const { return fd_.get(); }
  /// "direct", or that it is not.
  const char* mode() const { return direct_ ? "direct" : "BUFFERED: no O_DIRECT here"; }
  std::byte* buffer(int number) const { return memory_.data() + number * shape_.tile_bytes; }
  /// Throws Error corrupt unless every page's first float is `steps`.
  void check(int steps);

  /// Throws Error naming the file if a transfer did not move `wanted` bytes.
  void need(std::int64_t moved, std::int64_t wanted, const char* what) const;

 private:
  StepShape shape_;
  std::string name_;
  sys::UniqueFd fd_;
  bool direct_ = false;
  PinnedRegion memory_;
};

}  // namespace spillway::bench
