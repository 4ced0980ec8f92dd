#include "swap/widen.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <numeric>
#include <vector>

#include "swap/mixed_precision.h"

namespace spillway::swap {
namespace {

std::vector<std::uint16_t> every_half() {
  std::vector<std::uint16_t> all(0x10000);
  std::iota(all.begin(), all.end(), std::uint16_t{0});
  return all;
}

std::vector<std::uint32_t> widened(DType dtype) {
  const std::vector<std::uint16_t> all = every_half();
  std::vector<std::uint32_t> bits(all.size());
  widen(std::as_bytes(std::span(all)), dtype, std::as_writable_bytes(std::span(bits)), DType::f32);
  return bits;
}

TEST(WidenTest, EveryHalfKeepsItsValue) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const std::vector<std::uint32_t> bits = widened(dtype);
    for (std::uint32_t half = 0; half < bits.size(); ++half) {
      const float expected = test::meaning(dtype, static_cast<std::uint16_t>(half));
      const float got = std::bit_cast<float>(bits[half]);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(got)) << to_string(dtype) << " " << half;
        // Its payload and its sign are still there.
        const int shift = dtype == DType::f16 ? 13 : 16;
        ASSERT_EQ((bits[half] >> shift) & (dtype == DType::f16 ? 0x3ffu : 0x7fu),
                  half & (dtype == DType::f16 ? 0x3ffu : 0x7fu));
        ASSERT_EQ(bits[half] >> 31, half >> 15);
        continue;
      }
      ASSERT_EQ(bits[half], std::bit_cast<std::uint32_t>(expected))
          << to_string(dtype) << " " << half;
    }
  }
}

// Engines flush subnormals on their threads, for speed.
TEST(WidenTest, AThreadThatFlushesSubnormalsGetsTheSame) {
  const std::vector<std::uint32_t> f16 = widened(DType::f16), bf16 = widened(DType::bf16);
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // FTZ, DAZ
  const std::vector<std::uint32_t> f16_flushed = widened(DType::f16);
  const std::vector<std::uint32_t> bf16_flushed = widened(DType::bf16);
  _mm_setcsr(before);
  EXPECT_EQ(f16_flushed, f16);
  EXPECT_EQ(bf16_flushed, bf16);
}

TEST(WidenTest, TheSameDTypeIsCopied) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i8, DType::u8}) {
    EXPECT_TRUE(widens(dtype, dtype));
    std::vector<std::byte> from(24), to(24);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 11);
    widen(from, dtype, to, dtype);
    EXPECT_EQ(to, from);
  }
  EXPECT_FALSE(widens(DType::f32, DType::bf16));
  EXPECT_FALSE(widens(DType::f16, DType::bf16));
  EXPECT_FALSE(widens(DType::u8, DType::f32));
}

TEST(WidenTest, MemoryNeedNotBeAligned) {
  std::vector<std::byte> from(41), to(81);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  widen(std::span(from).subspan(1), DType::bf16, std::span(to).subspan(1), DType::f32);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(to[1 + 4 * i + 2], from[1 + 2 * i]);
    EXPECT_EQ(to[1 + 4 * i + 3], from[1 + 2 * i + 1]);
    EXPECT_EQ(to[1 + 4 * i], std::byte{0});
  }
}

}  // namespace
}  // namespace spillway::swap
