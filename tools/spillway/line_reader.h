#pragma once

#include <functional>
#include <optional>
#include <string>

namespace spillway::tool {

/// Lines from a descriptor that somebody else owns: a child's output, our own input.
class LineReader {
 public:
  /// Called some ten times a second while nothing comes. What it throws leaves the read; nothing
  /// is lost.
  using OnTick = std::function<void()>;

  explicit LineReader(int fd) : fd_(fd) {}

  /// The next line without its end, or nullopt at the end of the input.
  /// Throws Stopped when a signal came meanwhile (StopSignals), Error io_error.
  std::optional<std::string> read(const OnTick& on_tick = {});

 private:
  int fd_;
  std::string buffer_;
};

}  // namespace spillway::tool
