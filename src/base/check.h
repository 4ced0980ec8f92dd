#pragma once

namespace spillway {

/// Prints the message and aborts. For what only a bug of ours can cause.
[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               const char* what) noexcept;

}  // namespace spillway

/// Stays on in release builds: going on after a broken invariant could lose data.
#define SPILLWAY_CHECK(condition, what) \
  ((condition) ? static_cast<void>(0)   \
               : ::spillway::check_failed(#condition, __FILE__, __LINE__, what))
