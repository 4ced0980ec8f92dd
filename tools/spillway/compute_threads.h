#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace spillway::demo {

/// A few threads that share the pieces of one loop at a time, the caller among them. A tile takes
/// less than a millisecond to compute, so workers watch for the next loop for some microseconds
/// before they sleep, and a loop allocates nothing.
///
/// Threads: for_each() belongs to one thread at a time. Signals go to other threads.
class ComputeThreads {
 public:
  /// Requires threads >= 1; 1 starts none.
  explicit ComputeThreads(int threads);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls work(i) once for every i in [0, pieces), in any order, on any of the threads; returns
  /// when all have returned. `work` must not throw.
  template <typename Work>
  void for_each(std::size_t pieces, Work&& work) {
    using Type = std::remove_reference_t<Work>;
    run(
        pieces, [](void* self, std::size_t i) { (*static_cast<Type*>(self))(i); },
        const_cast<void*>(static_cast<const void*>(&work)));
  }

 private:
  using Call = void (*)(void*, std::size_t);

  void run(std::size_t pieces, Call call, void* work);
  void work_loop();
  void take_pieces();
  std::uint64_t await_loop(std::uint64_t seen);

  // The loop of generation g; written before generation_ says g, read by workers after.
  Call call_ = nullptr;
  void* work_ = nullptr;
  std::size_t pieces_ = 0;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> working_{0};  // workers that have not left the loop yet
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<bool> stop_{false};

  std::mutex mutex_;  // for sleeping only
  std::condition_variable loop_begins_, loop_ends_;
  int sleepers_ = 0;            // under mutex_
  bool caller_sleeps_ = false;  // under mutex_
  std::vector<std::thread> workers_;
};

}  // namespace spillway::demo
