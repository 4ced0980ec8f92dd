#include "swap/widen.h"

#include <bit>
#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace spillway::swap {
namespace {

std::uint32_t bits_of_bf16(std::uint16_t half) { return std::uint32_t{half} << 16; }

// Every case is computed and one chosen, so that the loop over it becomes vector code. A subnormal
// is so many times 2^-24, which f32 holds as a normal number: no flushing mode can touch it.
std::uint32_t bits_of_f16(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special = 0x7f800000u | (magnitude << 13);
  const auto subnormal = std::bit_cast<std::uint32_t>(
      static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  return sign | (magnitude >= 0x7c00 ? special : magnitude >= 0x0400 ? normal : subnormal);
}

template <typename Convert>
void each(std::span<const std::byte> values, std::span<std::byte> into, Convert convert) {
  const std::byte* from = values.data();
  std::byte* to = into.data();
  for (std::size_t i = 0; i < values.size() / 2; ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, from + 2 * i, 2);
    const std::uint32_t bits = convert(half);
    std::memcpy(to + 4 * i, &bits, 4);
  }
}

}  // namespace

bool widens(DType from, DType to) {
  return from == to || (to == DType::f32 && (from == DType::f16 || from == DType::bf16));
}

void widen(std::span<const std::byte> values, DType from, std::span<std::byte> into, DType to) {
  SPILLWAY_CHECK(widens(from, to) && values.size() / static_cast<std::size_t>(width(from)) ==
                                         into.size() / static_cast<std::size_t>(width(to)),
                 "values are widened one by one");
  if (from == to) {
    if (!values.empty()) std::memcpy(into.data(), values.data(), values.size());
  } else if (from == DType::f16) {
    each(values, into, bits_of_f16);
  } else {
    each(values, into, bits_of_bf16);
  }
}

}  // namespace spillway::swap
