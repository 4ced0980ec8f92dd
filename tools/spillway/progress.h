#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace spillway::tool {

/// One line on standard error that shows how far a phase is; nothing when that is no terminal.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Starts a phase of `total` units of work (elements, say).
  void begin(std::string phase, std::int64_t total);
  void advance(std::int64_t units);
  /// Wipes the line, so that something else can be printed.
  void clear();

 private:
  void draw();

  bool on_;
  bool drawn_ = false;
  std::string phase_;
  std::int64_t total_ = 0, done_ = 0;
  std::chrono::steady_clock::time_point next_draw_{};
};

}  // namespace spillway::tool
