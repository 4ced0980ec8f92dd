#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace spillway {
namespace {

spdlog::level::level_enum native(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
  }
  return spdlog::level::off;
}

struct Logger {
  std::atomic<LogLevel> level{LogLevel::warning};
  std::mutex mutex;
  std::function<void(LogLevel, std::string_view)> sink;
  std::shared_ptr<spdlog::logger> standard;

  Logger() {
    standard = std::make_shared<spdlog::logger>("spillway",
                                                std::make_shared<spdlog::sinks::stderr_sink_mt>());
    standard->set_level(spdlog::level::trace);
    standard->set_pattern("spillway: %l: %v");
    standard->flush_on(spdlog::level::info);
  }
};

// Never destroyed: threads of ours may log while the process exits.
Logger& logger() {
  static Logger& the_logger = *new Logger;
  return the_logger;
}

}  // namespace

void set_log_level(LogLevel level) { logger().level = level; }

void set_log_sink(std::function<void(LogLevel, std::string_view)> sink) {
  std::lock_guard lock(logger().mutex);
  logger().sink = std::move(sink);
}

namespace log {

bool enabled(LogLevel level) { return level >= logger().level.load(std::memory_order_relaxed); }

void write(LogLevel level, std::string_view message) noexcept {
  try {
    Logger& to = logger();
    std::lock_guard lock(to.mutex);
    if (to.sink)
      to.sink(level, message);
    else
      to.standard->log(native(level), message);
  } catch (...) {  // NOLINT(bugprone-empty-catch): there is nobody to tell
  }
}

}  // namespace log
}  // namespace spillway
