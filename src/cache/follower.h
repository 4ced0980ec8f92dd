#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "cache/order.h"

namespace spillway::cache {

/// Says where in a learned order a running pass is, while the pass differs from it in details.
///
/// It keeps a window of 64 positions from the first one that was not seen yet, with a bit for
/// each that was (like the selective acknowledgements of TCP). An access marks the first unseen
/// occurrence of its tensor in the window; so two swapped accesses need no special case:
///   order  a b c d    seen  b a c d    window  .x..  ->  xx..  ->  xxx.  ->  xxxx
/// A position that stays unseen while `patience` later ones are seen was skipped. An access
/// with no occurrence in the window is a stray; eight strays that stand one after another further
/// on in the order mean that the pass has jumped there.
///
/// Strays and skips add to a strain that expected accesses take off again; at `breaking_strain`,
/// or a quarter of what a short order has accesses, the order is broken: about every fifth access
/// a stray is more than it bears.
class Follower {
 public:
  static constexpr unsigned window = 64;
  static constexpr int patience = 16;
  static constexpr int stray_strain = 4;
  static constexpr int breaking_strain = 64;
  static constexpr int unconfirmed_breaking_strain = 32;
  static constexpr int least_breaking_strain = 8;
  static constexpr int run_to_jump = 8;

  enum class Seen { expected, stray, jumped };

  /// From the start of `order`, which must outlive the walk. One that no pass has confirmed yet
  /// may be none at all: it breaks at half the strain, or at a sixteenth of its length.
  void start(const Order& order, bool confirmed = true);
  Seen follow(TensorId id);

  /// The first position not seen yet.
  Order::Position position() const { return base_; }
  bool seen(Order::Position position) const {
    return position < base_ || (position - base_ < window && (seen_ >> (position - base_) & 1));
  }
  /// Positions that the last call of follow() gave up waiting for (a jump does not list its own).
  std::span<const Order::Position> skipped() const { return {skipped_.data(), skips_}; }
  bool broken() const { return strain_ >= breaking_; }
  /// More than every eighth access so far was a stray.
  bool astray() const { return strays_ * 8 > strays_ + expected_; }
  /// Expected accesses since the last stray or skip.
  std::uint64_t calm() const { return calm_; }
  /// After a forget() on the order.
  void settle();

 private:
  Seen stray(TensorId id);
  void advance(unsigned positions);
  void skip_front();

  const Order* order_ = nullptr;
  Order::Position base_ = 0;
  std::uint64_t seen_ = 0;  // bit i: position base_ + i
  Order::Position last_stray_ = Order::none;
  int stray_run_ = 0;
  int strain_ = 0;
  int breaking_ = breaking_strain;
  std::uint64_t expected_ = 0, strays_ = 0;  // accesses so far
  std::uint64_t calm_ = 0;
  std::array<Order::Position, window> skipped_{};
  std::size_t skips_ = 0;
};

}  // namespace spillway::cache
