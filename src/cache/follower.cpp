#include "cache/follower.h"

#include <algorithm>
#include <bit>

namespace spillway::cache {

void Follower::start(const Order& order, bool confirmed) {
  *this = Follower();
  order_ = &order;
  const Order::Position share = order.length() / (confirmed ? 4 : 16);
  const Order::Position most = confirmed ? breaking_strain : unconfirmed_breaking_strain;
  breaking_ = static_cast<int>(std::clamp<Order::Position>(share, least_breaking_strain, most));
  settle();
}

Follower::Seen Follower::follow(TensorId id) {
  skips_ = 0;
  Order::Position at = order_->next(id, base_);
  while (at != Order::none && seen(at)) at = order_->next(id, at + 1);
  if (at == Order::none || at - base_ >= window) return stray(id);
  seen_ |= std::uint64_t{1} << (at - base_);
  strain_ = std::max(0, strain_ - 1);
  ++calm_;
  ++expected_;
  last_stray_ = Order::none;
  settle();
  return Seen::expected;
}

Follower::Seen Follower::stray(TensorId id) {
  strain_ += stray_strain;
  ++strays_;
  calm_ = 0;
  const bool follows = last_stray_ != Order::none && last_stray_ + 1 < order_->length() &&
                       order_->at(last_stray_ + 1) == id;
  if (follows) {
    ++last_stray_;
    ++stray_run_;
  } else {
    last_stray_ = order_->next(id, base_);  // strays are ahead of the window, or seen already
    while (last_stray_ != Order::none && seen(last_stray_))
      last_stray_ = order_->next(id, last_stray_ + 1);
    stray_run_ = 1;
  }
  if (last_stray_ == Order::none || stray_run_ < run_to_jump) return Seen::stray;
  base_ = last_stray_ + 1;
  seen_ = 0;
  last_stray_ = Order::none;
  settle();
  return Seen::jumped;
}

void Follower::advance(unsigned positions) {
  base_ += positions;
  seen_ = positions < window ? seen_ >> positions : 0;
}

void Follower::settle() {
  for (;;) {
    if (const int run = std::countr_one(seen_); run > 0) {
      advance(static_cast<unsigned>(run));
    } else if (base_ < order_->length() && order_->at(base_) == no_tensor) {
      advance(1);
    } else if (std::popcount(seen_) >= patience) {
      skip_front();
    } else {
      return;
    }
  }
}

void Follower::skip_front() {
  const int unseen = std::countr_zero(seen_);
  for (int i = 0; i < unseen; ++i) {
    const Order::Position position = base_ + static_cast<Order::Position>(i);
    if (order_->at(position) != no_tensor) skipped_[skips_++] = position;
  }
  strain_ += unseen;
  calm_ = 0;
  advance(static_cast<unsigned>(unseen));
}

}  // namespace spillway::cache
