#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace spillway::cache {

/// Which pass follows a pass, learned from the last eight times: the most frequent one, the
/// latest among equals. Eight lets a training loop forget quickly that evaluation came between.
class Succession {
 public:
  using PassNumber = std::uint8_t;
  static constexpr PassNumber unknown = 255;

  Succession() { recent_.fill(unknown); }

  void learn(PassNumber next) { recent_[learned_++ % recent_.size()] = next; }
  void forget(PassNumber pass) { std::ranges::replace(recent_, pass, unknown); }

  PassNumber next() const {
    PassNumber best = unknown;
    std::ptrdiff_t most = 0;
    for (std::size_t back = 1; back <= recent_.size(); ++back) {
      const PassNumber candidate = recent_[(learned_ - back) % recent_.size()];
      if (candidate == unknown) continue;
      const std::ptrdiff_t times = std::ranges::count(recent_, candidate);
      if (times > most) {
        most = times;
        best = candidate;
      }
    }
    return best;
  }

 private:
  std::array<PassNumber, 8> recent_;
  std::size_t learned_ = 0;
};

}  // namespace spillway::cache
