#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "spillway/log.h"

namespace spillway::log {

bool enabled(LogLevel level);
void write(LogLevel level, std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::debug))
    write(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::info))
    write(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::warning))
    write(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(LogLevel::error))
    write(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace spillway::log
