#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace spillway {

/// What kind of trouble the world made. Callers decide by the code; people read the text.
enum class Errc {
  invalid_argument,   ///< a call that can never be right: unknown id, wrong size or dtype
  invalid_config,     ///< a setting that is unknown, out of range, or contradicts another
  not_found,          ///< a path or file that is not there
  permission_denied,  ///< a path that this user may not write
  no_space,           ///< disk, quota or RLIMIT_FSIZE is exhausted
  out_of_memory,      ///< the kernel gave no memory
  memlock_limit,      ///< pinning was required and RLIMIT_MEMLOCK forbids it
  does_not_fit,       ///< the plan asks for more than machine, cgroup or budget have
  io_error,           ///< the device or file system failed a transfer
  corrupt,            ///< what was read is not what was written
  timeout,            ///< a wait ran out; the text lists what is in flight
  would_deadlock,     ///< waiting here could only be ended by the caller itself
  busy,               ///< in use by an open run or lease
  step_incomplete,    ///< an earlier step was left half done
  torn,               ///< a parameter was left between old and new
  cancelled,          ///< taken back before it started
  unsupported,        ///< this machine or build cannot do it
  forked,             ///< called in a forked child; only the process that made it may
  shut_down,          ///< the engine no longer takes requests
};

/// The name of `code` as it stands in the enum ("no_space").
std::string_view to_string(Errc code);

/// Everything the library throws for what the world did. `what()` is one line that says what
/// happened, where, and how to mend it.
class Error : public std::runtime_error {
 public:
  Error(Errc code, const std::string& text) : std::runtime_error(text), code_(code) {}
  Errc code() const noexcept { return code_; }

 private:
  Errc code_;
};

}  // namespace spillway
