#include "spillway/timeline.h"

#include <chrono>
#include <utility>

#include "base/clock.h"

namespace spillway {

Timeline::Timeline(std::size_t capacity) : capacity_(capacity) { spans_.reserve(capacity); }

void Timeline::add(const Span& span) noexcept {
  const std::lock_guard lock(mutex_);
  if (spans_.size() < capacity_) {
    spans_.push_back(span);
  } else {
    ++dropped_;
  }
}

std::vector<Span> Timeline::take() {
  std::vector<Span> fresh;
  fresh.reserve(capacity_);
  const std::lock_guard lock(mutex_);
  dropped_ = 0;
  return std::exchange(spans_, std::move(fresh));
}

std::int64_t Timeline::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

std::int64_t Timeline::now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

}  // namespace spillway
