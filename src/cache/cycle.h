#pragma once

#include <cstdint>

#include "cache/tensor_id.h"

namespace spillway::cache {

/// Finds where an unnamed stream of accesses starts over, for engines that never name a pass.
///
/// Two accesses in a row serve as the mark (one would not do: forward and backward visit every
/// tensor twice, but every pair of neighbours in that order once). The stream starts over when
/// they come again. As nobody knows when the loop begins, the mark is taken anew after 2, 4, 8, …
/// accesses without a return (as in Brent's search for cycles), so a loop is found, at
/// the latest, in its fourth round.
class CycleFinder {
 public:
  /// True when `id` is the first access of a new round.
  bool access(TensorId id) {
    const bool starts = returned_;
    returned_ = false;
    if (starts) since_mark_ = 0;
    ++since_mark_;
    if (since_mark_ > 1 && before_ == mark_[0] && id == mark_[1]) {
      returned_ = true;  // the round is counted from the access behind the mark
    } else if (since_mark_ >= limit_) {
      mark_again(id);
    }
    before_ = id;
    return starts;
  }

  /// The rounds that were found are not alike: look for another mark.
  void distrust() { since_mark_ = limit_; }

 private:
  void mark_again(TensorId id) {
    mark_[0] = before_;
    mark_[1] = id;
    since_mark_ = 0;
    if (limit_ < std::uint64_t{1} << 62) limit_ *= 2;
  }

  TensorId before_ = no_tensor;
  TensorId mark_[2] = {no_tensor, no_tensor};
  std::uint64_t since_mark_ = 0, limit_ = 2;
  bool returned_ = false;
};

}  // namespace spillway::cache
