#pragma once

#include <cstddef>
#include <cstdint>

// The inside of the AdamW update, compiled once per instruction set. Its translation units include
// nothing but this: an inline function of a larger header, compiled for AVX-512 and chosen by the
// linker for the whole program, would fail on a processor without it.

namespace spillway::demo {

/// One step's constants, computed once in double and rounded. Decoupled weight decay and bias
/// correction as in Loshchilov and Hutter (arXiv:1711.05101) and torch.optim.AdamW.
struct AdamWStep {
  float decay;            ///< 1 - lr * weight_decay
  float beta1, rest1;     ///< beta1, 1 - beta1
  float beta2, rest2;     ///< beta2, 1 - beta2
  float step_size;        ///< lr / (1 - beta1^t)
  float root_correction;  ///< 1 / sqrt(1 - beta2^t)
  float epsilon;
  float gradient_scale;  ///< gradients are uniform in [-scale, scale)
};

/// Names one stream of numbers: a tensor's gradients of one step, or its first masters.
struct StreamKey {
  std::uint32_t first, second;
};

/// Elements [first, first + count) of one tensor, 0 <= count < 2^31. The gradient of element i is
/// number i of the stream `key`: made here, never stored.
using UpdateKernel = void (*)(float* master, float* exp_avg, float* exp_avg_sq, std::int32_t count,
                              std::uint32_t first, StreamKey key, const AdamWStep& step);
/// values[k] = scale * number (first + k) of the stream.
using FillKernel = void (*)(float* values, std::int32_t count, std::uint32_t first, StreamKey key,
                            float scale);

struct Kernel {
  const char* name;
  UpdateKernel update;
  FillKernel fill;
};

namespace baseline {
extern const Kernel kernel;
}
namespace avx2 {
extern const Kernel kernel;
}
namespace avx512 {
extern const Kernel kernel;
}

}  // namespace spillway::demo
