#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace spillway::tool {

/// "12 s", "3 min 5 s", of what is left when `done` of `total` took `elapsed` [s]; empty where that
/// cannot be told yet.
std::string time_left(double elapsed, std::int64_t done, std::int64_t total);

/// One line on standard error that shows how far a phase is and, after a second, how much longer it
/// will take; nothing when that is no terminal.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Starts a phase of `total` units of work (elements, say).
  void begin(std::string phase, std::int64_t total);
  void advance(std::int64_t units);
  /// The same, counted from the start of the phase.
  void set(std::int64_t done) { advance(done - done_); }
  /// Other words for the same phase.
  void rename(std::string phase) { phase_ = std::move(phase); }
  /// Wipes the line, so that something else can be printed.
  void clear();

 private:
  void draw();

  bool on_;
  bool drawn_ = false;
  std::string phase_;
  std::int64_t total_ = 0, done_ = 0;
  std::chrono::steady_clock::time_point began_{};
  std::chrono::steady_clock::time_point next_draw_{};
};

}  // namespace spillway::tool
