// pread and pwrite on threads: one buffer, one thread. While some read others write, so that the
// disk always has as much to do as there are buffers.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/byte_size.h"
#include "plain_file.h"

namespace spillway::bench {
namespace {

class ThreadPeer final : public Peer {
 public:
  ThreadPeer(const StepShape& shape, std::int64_t block_bytes)
      : shape_(shape), block_(block_bytes), file_(shape, "threads.bin") {
    for (int i = 0; i < shape.buffers; ++i) threads_.emplace_back([this, i] { live(i); });
  }
  ~ThreadPeer() override {
    {
      const std::lock_guard lock(mutex_);
      quit_ = true;
    }
    begin_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  std::string name() const override { return "pread/pwrite threads"; }
  std::string setting() const override {
    return fmt::format("{} threads, {} a call, {}", threads_.size(), format_bytes(block_),
                       file_.mode());
  }

  void step() override {
    std::unique_lock lock(mutex_);
    next_ = 0;
    working_ = static_cast<int>(threads_.size());
    ++number_;
    begin_.notify_all();
    end_.wait(lock, [this] { return working_ == 0; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  void check(int steps) override { file_.check(steps); }

 private:
  void live(int own) {
    int seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      begin_.wait(lock, [&] { return quit_ || number_ != seen; });
      if (quit_) return;
      seen = number_;
      lock.unlock();
      std::exception_ptr error;
      try {
        swap_tiles(file_.buffer(own));
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      if (error) error_ = error;
      if (--working_ == 0) end_.notify_all();
    }
  }

  void swap_tiles(std::byte* buffer) {
    for (std::int64_t tile = next_++; tile < shape_.tiles(); tile = next_++) {
      const std::int64_t from = tile * shape_.tile_bytes;
      for (std::int64_t at = 0; at < shape_.tile_bytes; at += block_) {
        const std::int64_t bytes = std::min(block_, shape_.tile_bytes - at);
        file_.need(sys::read_at(file_.fd(), buffer + at, bytes, from + at), bytes, "read");
      }
      touch(buffer, shape_.tile_bytes);
      for (std::int64_t at = 0; at < shape_.tile_bytes; at += block_) {
        const std::int64_t bytes = std::min(block_, shape_.tile_bytes - at);
        file_.need(sys::write_at(file_.fd(), buffer + at, bytes, from + at, false), bytes, "write");
      }
    }
  }

  StepShape shape_;
  std::int64_t block_;
  PlainFile file_;
  std::atomic<std::int64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  int number_ = 0, working_ = 0;
  bool quit_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Peer> make_thread_peer(const StepShape& shape, std::int64_t block_bytes) {
  return std::make_unique<ThreadPeer>(shape, block_bytes);
}

}  // namespace spillway::bench
