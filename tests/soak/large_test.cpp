// State of more than 4 GiB, and one tensor of more than 4 GiB: nothing on the way may count in 32
// bits. The expected values follow from a formula, so that no second copy is needed.
//
// The suite runs it small; SPILLWAY_SOAK=1 (scripts/soak.sh) runs it in full: it needs 20 GB of
// disk under the current directory.

#include <gtest/gtest.h>

#include <cstdlib>

#include "support/swap_fixture.h"

namespace spillway {
namespace {

bool in_full() { return std::getenv("SPILLWAY_SOAK") != nullptr; }

float start_value(std::uint64_t tag, std::int64_t element) {
  const std::uint64_t x =
      (tag * 1000003 + static_cast<std::uint64_t>(element)) * 0x9e3779b97f4a7c15u;
  return static_cast<float>(x >> 40);
}

// Two states; `a` starts from a formula, `b` at 1, and a step is b = b + 2, a = a * 0.5 + b.
void run(std::vector<std::int64_t> sizes) {
  const test::Scratch scratch;
  Config config = test::small_config(OffloadDevice::nvme, scratch.path());
  config.offload_optimizer.buffer_size = in_full() ? 4 << 20 : 128 << 10;
  {
    Context context(config);
    OptimizerSwapper swapper(context, {.states = {{"a"}, {"b", DType::f32, 1, 1.0}}});
    std::int64_t total = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      swapper.add("p" + std::to_string(i), sizes[i], {.tag = i});
      total += sizes[i];
    }
    {
      auto load = swapper.begin({.write = {"a"}});
      while (auto tile = load.next()) {
        for (const Slice& s : tile->slices()) {
          const auto a = s.of<float>("a");
          for (std::int64_t i = 0; i < s.count; ++i)
            a[static_cast<std::size_t>(i)] = start_value(s.tag, s.offset + i);
        }
        tile->commit();
      }
    }
    const OptimizerStats before = swapper.stats();
    for (std::int64_t n = 1; n <= 2; ++n)
      swapper.step(n, [](const Slice& s) {
        const auto a = s.of<float>("a"), b = s.of<float>("b");
        for (std::size_t i = 0; i < a.size(); ++i) {
          b[i] += 2;
          a[i] = a[i] * 0.5f + b[i];
        }
      });
    const OptimizerStats after = swapper.stats();
    EXPECT_GE(after.bytes_written - before.bytes_written, 2 * 8 * total);
    std::int64_t seen = 0, wrong = 0;
    auto check = swapper.begin({.read = {"a", "b"}});
    while (auto tile = check.next()) {
      for (const Slice& s : tile->slices()) {
        const auto a = s.of<const float>("a"), b = s.of<const float>("b");
        for (std::int64_t i = 0; i < s.count; ++i) {
          float expected = start_value(s.tag, s.offset + i) * 0.5f + 3;
          expected = expected * 0.5f + 5;
          const auto at = static_cast<std::size_t>(i);
          wrong += a[at] != expected || b[at] != 5;
        }
        seen += s.count;
      }
      tile->commit();
    }
    EXPECT_EQ(seen, total);
    EXPECT_EQ(wrong, 0);
  }
  EXPECT_TRUE(scratch.empty());
}

TEST(LargeTest, ATensorBeyondFourGibibytes) {
  run({in_full() ? 1'100'000'001 : 1'100'001});  // 4.4 GB in each of two states
}

TEST(LargeTest, AStateBeyondFourGibibytesOfManyTensors) {
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < 40; ++i) sizes.push_back(in_full() ? 30'000'000 + i : 30'000 + i);
  run(sizes);
}

}  // namespace
}  // namespace spillway
