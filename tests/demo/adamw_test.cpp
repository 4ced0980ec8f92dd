#include "adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

namespace spillway::demo {
namespace {

struct States {
  explicit States(std::size_t n) : master(n), exp_avg(n), exp_avg_sq(n) {}
  std::vector<float> master, exp_avg, exp_avg_sq;

  bool same_bits(const States& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() &&
             (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
    };
    return same(master, other.master) && same(exp_avg, other.exp_avg) &&
           same(exp_avg_sq, other.exp_avg_sq);
  }
};

// `steps` steps over `count` elements that stand `shift` floats behind an aligned address, cut at
// every multiple of `cut`.
States train(const Kernel& kernel, std::int64_t first, std::int64_t count, std::size_t shift,
             std::int64_t cut, int steps = 3) {
  States states(static_cast<std::size_t>(count) + shift);
  const StreamKey masters = stream_key(7, 3, 0);
  for (int step = 0; step <= steps; ++step)
    for (std::int64_t at = 0; at < count; at += cut) {
      const std::int64_t run = std::min(cut, count - at);
      float* const master = states.master.data() + shift + at;
      if (step == 0)
        fill_masters(kernel, master, first + at, run, masters);
      else
        adamw_update(kernel, master, states.exp_avg.data() + shift + at,
                     states.exp_avg_sq.data() + shift + at, first + at, run, stream_key(7, 3, step),
                     AdamW{}.at(step));
    }
  for (std::vector<float>* values : {&states.master, &states.exp_avg, &states.exp_avg_sq})
    values->erase(values->begin(), values->begin() + static_cast<std::ptrdiff_t>(shift));
  return states;
}

TEST(AdamWTest, AllInstructionSetsGiveTheSameBits) {
  std::string names;
  for (const Kernel* kernel : kernels_here()) names += std::string(" ") + kernel->name;
  std::cout << "kernels that this processor runs:" << names << "\n";
  for (const std::int64_t count :
       {0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 100, 4095, 4096, 4097, 70001})
    for (const std::size_t shift : {0, 1, 3, 15}) {
      const States expected = train(baseline::kernel, 0, count, 0, count + 1);
      for (const Kernel* kernel : kernels_here())
        EXPECT_TRUE(train(*kernel, 0, count, shift, count + 1).same_bits(expected))
            << kernel->name << ", " << count << " elements, shift " << shift;
    }
}

TEST(AdamWTest, CutsDoNotChangeBits) {
  const States whole = train(best_kernel(), 0, 50000, 0, 50000);
  for (const std::int64_t cut : {1000, 4096, 32768, 49999})
    EXPECT_TRUE(train(best_kernel(), 0, 50000, 0, cut).same_bits(whole)) << "cut every " << cut;
}

// Element numbers of tensors with more than 2^32 elements: cuts on both sides of the boundary see
// the same numbers, and these are not those of the first elements again.
TEST(AdamWTest, ElementsAreNumberedIn64Bits) {
  const std::int64_t boundary = std::int64_t{1} << 32;
  const States across = train(best_kernel(), boundary - 1000, 2000, 0, 2000);
  EXPECT_TRUE(train(best_kernel(), boundary - 1000, 2000, 0, 300).same_bits(across));
  const States low = train(best_kernel(), 0, 1000, 0, 1000);
  EXPECT_NE(std::memcmp(across.master.data() + 1000, low.master.data(), 1000 * sizeof(float)), 0);
}

// Against the definition of torch.optim.AdamW, in double.
TEST(AdamWTest, ItIsAdamW) {
  constexpr std::int64_t count = 1000;
  const AdamW hyper;
  const States got = train(best_kernel(), 0, count, 0, count, 20);

  std::vector<float> start(count);
  fill_masters(best_kernel(), start.data(), 0, count, stream_key(7, 3, 0));
  for (std::size_t i = 0; i < count; ++i) {
    double p = start[i], m = 0, v = 0;
    for (int t = 1; t <= 20; ++t) {
      float unit = 0;
      best_kernel().fill(&unit, 1, static_cast<std::uint32_t>(i), stream_key(7, 3, t), 1.0F);
      const double g = static_cast<double>(unit) * hyper.gradient_scale;
      p *= 1 - hyper.lr * hyper.weight_decay;
      m = hyper.beta1 * m + (1 - hyper.beta1) * g;
      v = hyper.beta2 * v + (1 - hyper.beta2) * g * g;
      const double m_hat = m / (1 - std::pow(hyper.beta1, t));
      const double v_hat = v / (1 - std::pow(hyper.beta2, t));
      p -= hyper.lr * m_hat / (std::sqrt(v_hat) + hyper.epsilon);
    }
    ASSERT_NEAR(got.master[i], p, 2e-6) << "element " << i;
    ASSERT_NEAR(got.exp_avg[i], m, 1e-8) << "element " << i;
    ASSERT_NEAR(got.exp_avg_sq[i], v, 1e-10) << "element " << i;
  }
}

TEST(AdamWTest, GradientsDifferPerElementStepTensorAndSeed) {
  const auto numbers = [](StreamKey key) {
    std::vector<float> values(100000);
    best_kernel().fill(values.data(), static_cast<std::int32_t>(values.size()), 0, key, 1.0F);
    return values;
  };
  const auto share_equal = [](const std::vector<float>& a, const std::vector<float>& b) {
    std::size_t equal = 0;
    for (std::size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i] ? 1U : 0U;
    return static_cast<double>(equal) / static_cast<double>(a.size());
  };
  const auto base = numbers(stream_key(1, 1, 1));
  EXPECT_LT(share_equal(base, numbers(stream_key(1, 1, 2))), 1e-3);
  EXPECT_LT(share_equal(base, numbers(stream_key(1, 2, 1))), 1e-3);
  EXPECT_LT(share_equal(base, numbers(stream_key(2, 1, 1))), 1e-3);

  double sum = 0, squares = 0, neighbours = 0;
  for (std::size_t i = 0; i < base.size(); ++i) {
    ASSERT_GE(base[i], -1.0F);
    ASSERT_LE(base[i], 1.0F);
    sum += base[i];
    squares += static_cast<double>(base[i]) * base[i];
    if (i > 0) neighbours += static_cast<double>(base[i]) * base[i - 1];
  }
  const auto n = static_cast<double>(base.size());
  EXPECT_NEAR(sum / n, 0, 0.01);  // uniform in [-1, 1): mean 0, variance 1/3
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.01);
  EXPECT_NEAR(neighbours / n, 0, 0.01);  // and no neighbours alike
}

}  // namespace
}  // namespace spillway::demo
