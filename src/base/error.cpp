#include "spillway/error.h"

namespace spillway {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::invalid_argument: return "invalid_argument";
    case Errc::invalid_config: return "invalid_config";
    case Errc::not_found: return "not_found";
    case Errc::permission_denied: return "permission_denied";
    case Errc::no_space: return "no_space";
    case Errc::out_of_memory: return "out_of_memory";
    case Errc::memlock_limit: return "memlock_limit";
    case Errc::does_not_fit: return "does_not_fit";
    case Errc::io_error: return "io_error";
    case Errc::corrupt: return "corrupt";
    case Errc::timeout: return "timeout";
    case Errc::would_deadlock: return "would_deadlock";
    case Errc::busy: return "busy";
    case Errc::step_incomplete: return "step_incomplete";
    case Errc::torn: return "torn";
    case Errc::cancelled: return "cancelled";
    case Errc::unsupported: return "unsupported";
    case Errc::forked: return "forked";
    case Errc::shut_down: return "shut_down";
  }
  return "unknown";
}

}  // namespace spillway
