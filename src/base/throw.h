#pragma once

#include <fmt/core.h>

#include <utility>

#include "spillway/error.h"

namespace spillway {

/// throw_error(Errc::no_space, "{} needs {}", path, need)
template <typename... Args>
[[noreturn]] void throw_error(Errc code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace spillway
