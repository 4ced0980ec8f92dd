#pragma once

namespace spillway::tool {

/// Thrown where a run notices that it should end; not an error, and so no std::exception.
struct Stopped {
  int signal;
};

/// While it lives, SIGINT, SIGTERM and SIGHUP ask the program to stop instead of killing it, and a
/// reader that went away (SIGPIPE) makes writes fail. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The first signal that came, or 0.
  static int received() noexcept;
  /// Throws Stopped if one came.
  static void check();
};

}  // namespace spillway::tool
