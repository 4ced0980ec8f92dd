#include "io/thread_backend.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>

#include "base/clock.h"
#include "base/log.h"
#include "sys/file.h"
#include "sys/process.h"

namespace spillway::io {

// What a worker needs of a piece, copied: on a dead device the piece may be gone before the worker.
struct ThreadBackend::Job {
  Piece* piece = nullptr;
  int fd = -1;
  Op op = Op::read;
  bool dsync = false;
  std::byte* data = nullptr;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;

  std::int64_t run() const {
    return op == Op::read ? sys::read_at(fd, data, bytes, offset)
                          : sys::write_at(fd, data, bytes, offset, dsync);
  }
};

// Jobs lie in a ring of fixed size: there are never more than the depth.
struct ThreadBackend::Desk {
  std::mutex mutex;
  std::condition_variable work, news;
  std::vector<Job> jobs;
  std::size_t first = 0, waiting = 0;
  std::vector<Completion> results;
  bool woken = false;
  bool closed = false;
  bool listening = false;  // the I/O thread waits for news
  std::int64_t alive = 0;  // workers

  void work_off() {
    std::unique_lock lock(mutex);
    for (;;) {
      work.wait(lock, [&] { return closed || waiting > 0; });
      if (closed) break;
      const Job job = jobs[first];
      first = (first + 1) % jobs.size();
      --waiting;
      lock.unlock();
      const std::int64_t result = job.run();
      lock.lock();
      if (closed) break;
      results.push_back({job.piece, result});
      if (listening) {
        listening = false;
        news.notify_one();
      }
    }
    --alive;
    news.notify_all();
  }
};

ThreadBackend::ThreadBackend(std::int64_t threads)
    : threads_(threads), desk_(std::make_shared<Desk>()) {}

ThreadBackend::~ThreadBackend() {
  close();
  for (std::thread& worker : workers_) worker.detach();
}

int ThreadBackend::open(std::int64_t depth, EngineReport& report, std::string& why) {
  static_cast<void>(why);
  desk_->jobs.resize(static_cast<std::size_t>(depth));
  desk_->results.reserve(static_cast<std::size_t>(depth));
  accepted_.reserve(static_cast<std::size_t>(depth));
  const std::int64_t wanted = std::min(depth, threads_ > 0 ? threads_ : 16);
  workers_.reserve(static_cast<std::size_t>(wanted));
  for (std::int64_t i = 0; i < wanted; ++i) {
    try {
      workers_.emplace_back([desk = desk_] {
        sys::block_all_signals();
        sys::name_thread("spillway-worker");
        sys::prefer_latency();
        desk->work_off();
      });
    } catch (const std::system_error& error) {
      report.reasons.push_back(
          fmt::format("only {} of {} worker threads could be started: {}; raise "
                      "RLIMIT_NPROC or pids.max",
                      i, wanted, sys::errno_text(error.code().value())));
      log::warning("{}", report.reasons.back());
      break;
    }
    std::lock_guard lock(desk_->mutex);
    ++desk_->alive;
  }
  report.features.push_back(fmt::format("{} worker threads", workers_.size()));
  return 0;
}

void ThreadBackend::start(Piece& piece) {
  accepted_.push_back({&piece, piece.file->spec.fd, piece.op, piece.file->spec.dsync, piece.data,
                       piece.offset, piece.bytes});
}

int ThreadBackend::reap(std::span<Completion> into, std::size_t& count, std::int64_t timeout_ns) {
  Desk& desk = *desk_;
  count = 0;
  if (workers_.empty()) {
    for (const Job& job : accepted_) into[count++] = {job.piece, job.run()};
    accepted_.clear();
    if (count > 0) return 0;
  }
  std::unique_lock lock(desk.mutex);
  for (const Job& job : accepted_) {
    desk.jobs[(desk.first + desk.waiting) % desk.jobs.size()] = job;
    ++desk.waiting;
    desk.work.notify_one();
  }
  accepted_.clear();
  const auto ready = [&] { return desk.woken || !desk.results.empty(); };
  if (timeout_ns != 0 && !ready()) {
    desk.listening = true;
    if (timeout_ns < 0) {
      desk.news.wait(lock, ready);
    } else {
      desk.news.wait_until(lock, Clock::now() + std::chrono::nanoseconds(timeout_ns), ready);
    }
    desk.listening = false;
  }
  desk.woken = false;
  count = std::min(into.size(), desk.results.size());
  std::copy_n(desk.results.begin(), count, into.begin());
  desk.results.erase(desk.results.begin(),
                     desk.results.begin() + static_cast<std::ptrdiff_t>(count));
  return 0;
}

void ThreadBackend::wake() noexcept {
  std::lock_guard lock(desk_->mutex);
  desk_->woken = true;
  if (desk_->listening) {
    desk_->listening = false;
    desk_->news.notify_one();
  }
}

void ThreadBackend::close() noexcept {
  std::lock_guard lock(desk_->mutex);
  desk_->closed = true;
  desk_->work.notify_all();
}

bool ThreadBackend::gone(std::int64_t timeout_ns) noexcept {
  {
    std::unique_lock lock(desk_->mutex);
    const auto none_left = [&] { return desk_->alive == 0; };
    if (!desk_->news.wait_until(lock, Clock::now() + std::chrono::nanoseconds(timeout_ns),
                                none_left))
      return false;
  }
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  return true;
}

}  // namespace spillway::io
