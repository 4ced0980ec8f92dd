#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/log.h"

namespace spillway {

/// Keeps warnings and errors that the library logs, instead of printing them.
class CapturedLog {
 public:
  CapturedLog() {
    set_log_sink([this](LogLevel level, std::string_view text) {
      const std::lock_guard lock(mutex_);
      if (level >= LogLevel::warning) lines_.emplace_back(text);
    });
  }
  ~CapturedLog() { set_log_sink({}); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace spillway
