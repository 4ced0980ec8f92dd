#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "line_reader.h"

namespace spillway::tool {

/// How a child is started, beside its command line.
struct PipedOptions {
  std::vector<std::string> environment = {};  ///< "NAME=VALUE": goes over ours
  bool input = false;   ///< its standard input is a pipe too: write_line(); else it is ours
  bool errors = false;  ///< its standard error goes the way of its standard output
  double patience = 0;  ///< [s] it may take to end after SIGTERM before it is killed
};

/// A child process whose standard output comes line by line through a pipe. Ended, if it still
/// runs, when this is destroyed.
class PipedProcess {
 public:
  /// `arguments[0]` is a path, or looked up in PATH.
  /// Throws Error: not_found, out_of_memory, io_error.
  explicit PipedProcess(const std::vector<std::string>& arguments,
                        const PipedOptions& options = {});
  ~PipedProcess();
  PipedProcess(const PipedProcess&) = delete;
  PipedProcess& operator=(const PipedProcess&) = delete;

  /// The next line without its end, or nullopt when the child has closed its output.
  /// Throws Stopped when a signal came meanwhile, Error io_error.
  std::optional<std::string> read_line(const LineReader::OnTick& on_tick = {});
  /// Requires: options.input. Throws Error io_error, for a child that is gone too (SIGPIPE must be
  /// ignored: StopSignals).
  void write_line(const std::string& line);
  /// The child sees the end of its input.
  void close_input() noexcept;
  /// Waits for its end; the status is that of waitpid().
  int wait();
  /// [s] of processor time, of the child and of its children that it waited for; after wait().
  double cpu_seconds() const { return cpu_seconds_; }

 private:
  bool take_end(int flags);  // false: it still runs
  void end_gently();

  pid_t pid_ = -1;
  int output_ = -1, input_ = -1;
  int status_ = 0;
  double patience_ = 0, cpu_seconds_ = 0;
  LineReader lines_{-1};
};

}  // namespace spillway::tool
