#pragma once

#include <functional>
#include <string_view>

namespace spillway {

enum class LogLevel { debug, info, warning, error, off };

/// Messages below `level` are dropped. The default is `warning`. Thread-safe.
void set_log_level(LogLevel level);

/// Sends messages to `sink` instead of standard error (an empty function restores that). The sink
/// may be called from any thread, one call at a time, and must not call back into the library.
void set_log_sink(std::function<void(LogLevel, std::string_view)> sink);

}  // namespace spillway
