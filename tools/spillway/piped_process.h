#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace spillway::tool {

/// A child process whose standard output comes line by line through a pipe. Killed, if it still
/// runs, when this is destroyed.
class PipedProcess {
 public:
  /// `arguments[0]` is a path, or looked up in PATH; `environment` ("NAME=VALUE") goes over ours.
  /// Throws Error: not_found, out_of_memory, io_error.
  PipedProcess(const std::vector<std::string>& arguments,
               const std::vector<std::string>& environment = {});
  ~PipedProcess();
  PipedProcess(const PipedProcess&) = delete;
  PipedProcess& operator=(const PipedProcess&) = delete;

  /// The next line without its end, or nullopt when the child has closed its output.
  /// Throws Stopped when a signal came meanwhile, Error io_error.
  std::optional<std::string> read_line();
  /// Waits for its end; the status is that of waitpid().
  int wait();

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  int status_ = 0;
  std::string buffer_;
};

}  // namespace spillway::tool
