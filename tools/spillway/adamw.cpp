#include "adamw.h"

#include <algorithm>
#include <cmath>

namespace spillway::demo {
namespace {

constexpr float master_scale = 0.02F;

// The finalizer of splitmix64.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

StreamKey halves(std::uint64_t x) {
  return {static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(x >> 32)};
}

// Kernels count in 32 bits: calls `part(done, first, count, key)` for runs of at most 2^30
// elements that lie in one block of 2^32 elements, each block with a key of its own.
template <typename Part>
void in_parts(std::int64_t first, std::int64_t count, StreamKey key, Part part) {
  constexpr std::int64_t block = std::int64_t{1} << 32;
  constexpr std::int64_t longest = std::int64_t{1} << 30;
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t at = first + done;
    const std::int64_t run = std::min({count - done, block - at % block, longest});
    StreamKey block_key = key;
    if (at >= block)
      block_key = halves(mix((std::uint64_t{key.second} << 32 | key.first) ^
                             mix(static_cast<std::uint64_t>(at / block))));
    part(done, static_cast<std::uint32_t>(at % block), static_cast<std::int32_t>(run), block_key);
    done += run;
  }
}

}  // namespace

AdamWStep AdamW::at(std::int64_t step) const {
  const auto t = static_cast<double>(step);
  return {.decay = static_cast<float>(1 - lr * weight_decay),
          .beta1 = static_cast<float>(beta1),
          .rest1 = static_cast<float>(1 - beta1),
          .beta2 = static_cast<float>(beta2),
          .rest2 = static_cast<float>(1 - beta2),
          .step_size = static_cast<float>(lr / (1 - std::pow(beta1, t))),
          .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, t))),
          .epsilon = static_cast<float>(epsilon),
          .gradient_scale = static_cast<float>(gradient_scale)};
}

StreamKey stream_key(std::uint64_t seed, std::uint64_t tensor, std::int64_t step) {
  return halves(mix(mix(mix(seed) ^ tensor) ^ static_cast<std::uint64_t>(step)));
}

std::vector<const Kernel*> kernels_here() {
  std::vector<const Kernel*> kernels{&baseline::kernel};
#ifdef SPILLWAY_X86_KERNELS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) kernels.push_back(&avx2::kernel);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    kernels.push_back(&avx512::kernel);
#endif
  return kernels;
}

const Kernel& best_kernel() {
  static const Kernel& best = *kernels_here().back();
  return best;
}

void adamw_update(const Kernel& kernel, float* master, float* exp_avg, float* exp_avg_sq,
                  std::int64_t first, std::int64_t count, StreamKey key, const AdamWStep& step) {
  in_parts(first, count, key,
           [&](std::int64_t done, std::uint32_t at, std::int32_t run, StreamKey part_key) {
             kernel.update(master + done, exp_avg + done, exp_avg_sq + done, run, at, part_key,
                           step);
           });
}

void fill_masters(const Kernel& kernel, float* master, std::int64_t first, std::int64_t count,
                  StreamKey key) {
  in_parts(first, count, key,
           [&](std::int64_t done, std::uint32_t at, std::int32_t run, StreamKey part_key) {
             kernel.fill(master + done, run, at, part_key, master_scale);
           });
}

}  // namespace spillway::demo
