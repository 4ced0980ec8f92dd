#include "compute_threads.h"

#include <pthread.h>
#include <signal.h>

#include <chrono>

namespace spillway::demo {
namespace {

// About what waking a sleeper costs: to watch for longer than that would not pay.
constexpr auto watch_for = std::chrono::microseconds(10);

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Whether `done` came true while watching.
template <typename Done>
bool watch(Done done) {
  const auto until = std::chrono::steady_clock::now() + watch_for;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

}  // namespace

ComputeThreads::ComputeThreads(int threads) {
  // A signal is for the thread that can stop the run, which is none of these.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work_loop(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ComputeThreads::~ComputeThreads() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  loop_begins_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ComputeThreads::run(std::size_t pieces, Call call, void* work) {
  call_ = call;
  work_ = work;
  pieces_ = pieces;
  next_.store(0, std::memory_order_relaxed);
  if (pieces <= 1 || workers_.empty()) {
    take_pieces();
    return;
  }
  working_.store(workers_.size(), std::memory_order_relaxed);
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
    wake = sleepers_ > 0;
  }
  if (wake) loop_begins_.notify_all();
  take_pieces();
  const auto all_left = [this] { return working_.load(std::memory_order_acquire) == 0; };
  if (watch(all_left)) return;
  std::unique_lock lock(mutex_);
  caller_sleeps_ = true;
  loop_ends_.wait(lock, all_left);
  caller_sleeps_ = false;
}

void ComputeThreads::take_pieces() {
  for (;;) {
    const std::size_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= pieces_) return;
    call_(work_, i);
  }
}

std::uint64_t ComputeThreads::await_loop(std::uint64_t seen) {
  const auto begun = [&] {
    return generation_.load(std::memory_order_acquire) != seen || stop_.load();
  };
  if (!watch(begun)) {
    std::unique_lock lock(mutex_);
    ++sleepers_;
    loop_begins_.wait(lock, begun);
    --sleepers_;
  }
  return generation_.load(std::memory_order_acquire);
}

void ComputeThreads::work_loop() {
  for (std::uint64_t seen = 0;;) {
    const std::uint64_t now = await_loop(seen);
    if (now == seen) return;  // stopped
    seen = now;
    take_pieces();
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::lock_guard lock(mutex_);
      if (caller_sleeps_) loop_ends_.notify_one();
    }
  }
}

}  // namespace spillway::demo
