#pragma once

#include <cstdint>
#include <vector>

#include "adamw_kernel.h"

namespace spillway::demo {

struct AdamW {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01;
  double gradient_scale = 0.01;

  /// The constants of step `step`, counted from 1.
  AdamWStep at(std::int64_t step) const;
};

/// Gradients of step 1 and up, and the first masters as "step 0".
StreamKey stream_key(std::uint64_t seed, std::uint64_t tensor, std::int64_t step);

/// The kernels that this processor can run, slowest first.
std::vector<const Kernel*> kernels_here();
const Kernel& best_kernel();

/// The update for elements [first, first + count) of a tensor, however many.
void adamw_update(const Kernel& kernel, float* master, float* exp_avg, float* exp_avg_sq,
                  std::int64_t first, std::int64_t count, StreamKey key, const AdamWStep& step);

/// The first masters of these elements, uniform in [-0.02, 0.02).
void fill_masters(const Kernel& kernel, float* master, std::int64_t first, std::int64_t count,
                  StreamKey key);

}  // namespace spillway::demo
