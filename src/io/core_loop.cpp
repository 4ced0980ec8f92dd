// The I/O thread: opens the back-end, keeps it full, runs callbacks, survives its loss, ends.

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "io/core.h"
#include "sys/file.h"
#include "sys/process.h"

namespace spillway::io {
namespace {

// How often a lost back-end is asked whether the kernel has let go of it. [ns]
constexpr std::int64_t gone_poll_ns = 2'000'000;

// Whose I/O thread this is. (Not by the thread's id: when it has ended, another may get that.)
thread_local const Core* core_of_thread = nullptr;

}  // namespace

bool Core::on_io_thread() const { return core_of_thread == this; }

void Core::run() {
  core_of_thread = this;
  sys::block_all_signals();
  sys::name_thread("spillway-io");
  sys::prefer_latency();
  bool usable = false;
  {
    std::lock_guard lock(mutex_);
    try {
      starting_.reserve(static_cast<std::size_t>(options_.queue_depth));
      results_.resize(static_cast<std::size_t>(2 * options_.queue_depth));
      usable = open_backend();
    } catch (...) {  // of start(), which waits for it
      open_error_ = ENOMEM;
      open_why_ = "out of memory";  // so short that it needs none
    }
    opened_ = true;
    changed_.notify_all();
  }
  if (usable) loop();
  end();
}

bool Core::open_backend() {
  for (;;) {
    std::string why;
    const int error = backend_->open(options_.queue_depth, report_, why);
    if (error == 0) {
      report_.engine = backend_->name();
      return true;
    }
    std::unique_ptr<Backend> next;
    if (options_.engine != EngineChoice::io_uring) next = backend_->successor();
    if (next == nullptr) {
      open_error_ = error;
      open_why_ = why;
      return false;
    }
    log::warning("{} cannot be used: {}; {} take over", backend_->name(), why, next->name());
    report_.reasons.push_back(std::move(why));
    report_.features.clear();
    backend_ = std::move(next);
  }
}

void Core::loop() {
  std::size_t count = 0;
  int lost = 0;
  bool stuck = false;
  for (;;) {
    if (stuck) {
      wake_put_off();
      std::this_thread::sleep_for(std::chrono::nanoseconds(gone_poll_ns));
    }
    RequestList done;
    Call* calls = nullptr;
    std::int64_t timeout_ns = 0;
    bool busy = false, wakes = false;
    {
      std::lock_guard lock(mutex_);
      asleep_ = false;
      const std::int64_t now = nanoseconds_now();
      if (abandoned_) return;
      book(std::exchange(count, 0), now);
      // Without memory for a successor everything waits, and is done when there is some again.
      stuck = lost != 0 && !change_backend(lost);
      if (stuck) continue;
      if (!lost_is_gone_ && lost_->gone(0)) release_held(now);
      calls = take_calls();
      done.take(finished_);
      hand_over();
      if (quit_ && calls == nullptr && done.empty()) return;
      scheduler_.wake_due(now);
      starting_.clear();
      while (Piece* const piece = scheduler_.next()) {
        if (piece->request->started_ns_ == 0) piece->request->started_ns_ = now;
        starting_.push_back(piece);
      }

      wakes = put_off_ != nullptr;
      busy = calls != nullptr || !done.empty() || wakes;
      if (!busy) {
        const std::int64_t due = scheduler_.next_due();
        timeout_ns = due < 0 ? -1 : std::max<std::int64_t>(due - now, 1);
        if (!lost_is_gone_ && (timeout_ns < 0 || timeout_ns > gone_poll_ns))
          timeout_ns = gone_poll_ns;
        asleep_ = true;
      }
    }
    for (Piece* const piece : starting_) backend_->start(*piece);
    // With callbacks to run the device is set to work first, and they run beside it.
    lost = backend_->reap(results_, count, timeout_ns);
    if (wakes) wake_put_off();
    if (busy) {
      run_callbacks(done);
      run_calls(calls);
    }
  }
}

// All that takes memory first: then either everything has changed, or nothing.
bool Core::change_backend(int error) noexcept {
  SPILLWAY_CHECK(lost_is_gone_, "a back-end was lost while another one was");
  std::unique_ptr<Backend> next;
  EngineReport report;
  try {
    next = backend_->successor();
    SPILLWAY_CHECK(next != nullptr, "a back-end without successor was lost");
    report = report_;
    report.features.clear();
    report.reasons.push_back(std::string(backend_->name()) +
                             " was refused while running: " + sys::errno_text(error));
    log::warning("{}; {} take over", report.reasons.back(), next->name());
    report.engine = next->name();
    std::string why;
    const int refused = next->open(options_.queue_depth, report, why);
    SPILLWAY_CHECK(refused == 0, "the last back-end must open");
  } catch (const std::bad_alloc&) {
    return false;
  }

  report_ = std::move(report);
  backend_->close();
  lost_ = std::move(backend_);
  lost_is_gone_ = false;
  backend_ = std::move(next);
  // What was in flight is done again: the same bytes to the same place. Its requests are held
  // until the old back-end has let go, so that no late transfer finds memory with a new owner.
  scheduler_.restart_all();

  for (const auto& file : files_) {
    if (!file) continue;
    file->slot = -1;
    backend_->add_file(*file);
  }
  memory_.clear();
  counters_.registered_bytes = 0;
  return true;
}

void Core::run_callbacks(RequestList& done) {
  while (Request* const request = done.pop_front()) {
    if (abandoned_) return;
    running_.store(request, std::memory_order_release);
    const Request::Callback callback = request->callback;
    void* const context = request->context;
    request->state_.store(RequestState::done, std::memory_order_release);
    try {
      callback(*request, context);
    } catch (const std::exception& error) {
      log::error("{}: an I/O callback threw: {}", request->at_->spec.name, error.what());
      request->outcome_.error = EIO;
    } catch (...) {
      log::error("{}: an I/O callback threw", request->at_->spec.name);
      request->outcome_.error = EIO;
    }
    running_.store(nullptr, std::memory_order_release);
    ++called_back_;
  }
}

bool Core::put_off(Condition& condition) noexcept {
  if (!on_io_thread()) return false;
  const std::lock_guard lock(mutex_);
  if (condition.put_off_) return true;
  condition.put_off_ = true;
  condition.next_put_off_ = std::exchange(put_off_, &condition);
  return true;
}

// One at a time, so that each may go as soon as it has been woken, and without the mutex, which who
// is woken may want next.
void Core::wake_put_off() noexcept {
  std::unique_lock lock(mutex_);
  while (put_off_ != nullptr) {
    waking_ = std::exchange(put_off_, put_off_->next_put_off_);
    waking_->put_off_ = false;
    lock.unlock();
    waking_->waiters_.notify_all();
    lock.lock();
    waking_ = nullptr;
    if (waiters_ > 0) changed_.notify_all();
  }
}

void Core::forget(Condition& condition) noexcept {
  std::unique_lock lock(mutex_);
  for (Condition** at = &put_off_; condition.put_off_; at = &(*at)->next_put_off_) {
    if (*at != &condition) continue;
    *at = condition.next_put_off_;
    condition.put_off_ = false;
    break;
  }
  if (on_io_thread()) return;
  ++waiters_;
  changed_.wait(lock, [&] { return waking_ != &condition; });
  --waiters_;
}

Core::Call* Core::take_calls() {
  last_call_ = nullptr;
  return std::exchange(calls_, nullptr);
}

void Core::run_calls(Call* first) {
  while (first != nullptr) {
    Call* const call = first;
    first = call->next;  // it is gone once it is done
    std::exception_ptr error;
    try {
      (*call->work)();
    } catch (...) {
      error = std::current_exception();
    }
    std::lock_guard lock(mutex_);
    call->error = std::move(error);
    call->done = true;
    changed_.notify_all();
  }
}

void Core::end() {
  Call* calls = nullptr;
  std::int64_t limit = 0;
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    calls = take_calls();
    limit = gone_limit_ns_;
  }
  run_calls(calls);
  wake_put_off();
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  backend_->close();
  backend_->gone(limit);
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

}  // namespace spillway::io
