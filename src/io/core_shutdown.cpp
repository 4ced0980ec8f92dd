// The end, clean or not.

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/throw.h"
#include "io/core.h"

namespace spillway::io {

ShutdownResult Core::shutdown(double timeout) {
  if (on_io_thread())
    throw_error(Errc::would_deadlock, "shutdown() from an I/O callback would wait for itself");
  const TimePoint deadline = deadline_in(timeout);
  std::unique_lock lock(mutex_);
  if (!stopping_) cancel_queued(lock);
  ++waiters_;
  changed_.wait_until(lock, deadline, [&] { return (open_ == 0 && calls_ == nullptr) || quit_; });
  if (!quit_) tell_to_quit(lock);
  if (!joined_) {
    // The thread itself may be stuck, in a callback or a call() on a dead file system.
    changed_.wait_until(lock, std::max(deadline, deadline_in(0.2)), [&] { return ending_; });
    if (ending_)
      changed_.wait_until(lock, deadline_in(abandoned_ ? 0.2 : 10), [&] { return ended_; });
  }
  --waiters_;
  if (!joined_) join_or_leave(lock);
  return result_;
}

void Core::cancel_queued(std::unique_lock<std::mutex>& lock) {
  stopping_ = true;
  RequestList queued;
  scheduler_.withdraw_all(queued);
  const std::int64_t now = nanoseconds_now();
  while (Request* const request = queued.pop_front()) {
    request->outcome_ = {.error = ECANCELED, .cancelled = true};
    finish(*request, now);
  }
  hand_over();
  unlock_and_wake(lock);
  lock.lock();
}

void Core::tell_to_quit(std::unique_lock<std::mutex>& lock) {
  quit_ = true;
  if (open_ != 0) {
    std::size_t total = 0;
    result_.clean = false;
    result_.abandoned = list_in_flight(SIZE_MAX, total);
    abandoned_ = true;
    news_ = true;
    hand_over();
  }
  // A clean end waits for the kernel to let go of the ring, so that its share of the limits is
  // free again; after an unclean one there is nothing to wait for.
  gone_limit_ns_ = abandoned_ ? 0 : 1'000'000'000;
  unlock_and_wake(lock);
  lock.lock();
}

void Core::join_or_leave(std::unique_lock<std::mutex>& lock) {
  joined_ = true;
  std::thread thread = std::move(thread_);
  // An abandoned thread cannot be joined: the kernel ends it only when its transfers are over.
  if (ended_ && !abandoned_) {
    lock.unlock();
    thread.join();
    lock.lock();
  } else {
    thread.detach();
    result_.clean = false;
    log::error(
        "the I/O engine was shut down with {} requests unanswered{}; their memory and files must "
        "not be freed, and the process may hang when it ends",
        result_.abandoned.size(),
        result_.abandoned.empty() ? "" : ", the first: " + result_.abandoned.front());
  }
}

}  // namespace spillway::io
