#pragma once

#include <condition_variable>
#include <cstdint>
#include <string_view>

namespace spillway {

/// One thread that waits in BufferPool::acquire(), on its own stack.
struct PoolWaiter {
  std::int64_t bytes = 0;
  std::string_view holder;
  std::condition_variable changed{};
  std::int64_t granted = -1;  // first granule
  PoolWaiter* before = nullptr;
  PoolWaiter* behind = nullptr;
};

/// First come, first served, without allocation. Not thread-safe: the pool has the lock.
class WaitQueue {
 public:
  PoolWaiter* front() const { return front_; }
  bool empty() const { return front_ == nullptr; }
  std::int64_t ahead_of(const PoolWaiter* waiter) const {
    std::int64_t ahead = 0;
    for (const PoolWaiter* at = front_; at != nullptr && at != waiter; at = at->behind) ++ahead;
    return ahead;
  }
  void push(PoolWaiter& waiter) {
    waiter.before = back_;
    (back_ != nullptr ? back_->behind : front_) = &waiter;
    back_ = &waiter;
  }
  void remove(PoolWaiter& waiter) {
    (waiter.before != nullptr ? waiter.before->behind : front_) = waiter.behind;
    (waiter.behind != nullptr ? waiter.behind->before : back_) = waiter.before;
  }

 private:
  PoolWaiter* front_ = nullptr;
  PoolWaiter* back_ = nullptr;
};

}  // namespace spillway
