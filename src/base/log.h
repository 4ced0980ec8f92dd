#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "spillway/log.h"

namespace spillway::log {

bool enabled(LogLevel level);
/// Loses the message where there is no memory for it, or where the sink throws: destructors and
/// the I/O thread log, and nothing may end there.
void write(LogLevel level, std::string_view message) noexcept;

template <typename... Args>
void write_formatted(LogLevel level, fmt::format_string<Args...> format, Args&&... args) noexcept {
  if (!enabled(level)) return;
  try {
    write(level, fmt::format(format, std::forward<Args>(args)...));
  } catch (...) {
    write(level, "a message was lost: there is no memory for it");
  }
}

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) noexcept {
  write_formatted(LogLevel::debug, format, std::forward<Args>(args)...);
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) noexcept {
  write_formatted(LogLevel::info, format, std::forward<Args>(args)...);
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) noexcept {
  write_formatted(LogLevel::warning, format, std::forward<Args>(args)...);
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) noexcept {
  write_formatted(LogLevel::error, format, std::forward<Args>(args)...);
}

}  // namespace spillway::log
