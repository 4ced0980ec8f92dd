#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"

namespace spillway::io {

class Engine;
class Core;

/// A condition variable for what callbacks bring about.
///
/// Notified in a callback, it wakes nobody before the device has been given what the callbacks
/// submitted: a thread that is woken first may take the processor from the I/O thread, and the
/// device idles while that thread computes. Notified anywhere else it wakes at once.
///
/// Threads: as std::condition_variable.
class Condition {
 public:
  /// `engine`: whose callbacks notify; it must outlive this. Null: nobody's.
  explicit Condition(Engine* engine);
  ~Condition();
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  void notify_all() noexcept;

  std::cv_status wait_until(std::unique_lock<std::mutex>& lock, TimePoint deadline) {
    return waiters_.wait_until(lock, deadline);
  }
  template <typename Ready>
  bool wait_until(std::unique_lock<std::mutex>& lock, TimePoint deadline, Ready ready) {
    return waiters_.wait_until(lock, deadline, ready);
  }

 private:
  friend class Core;

  std::condition_variable waiters_;
  Core* const core_;
  // Of Core, under its mutex:
  Condition* next_put_off_ = nullptr;
  bool put_off_ = false;
};

}  // namespace spillway::io
