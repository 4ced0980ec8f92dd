#pragma once

#include <cstdint>
#include <string_view>

namespace spillway {

/// Element types of tensors and optimizer states. Bytes are moved, never converted.
enum class DType : std::uint8_t { f32, f16, bf16, i8, u8 };

/// Bits of an IEEE 754 binary16 and of a bfloat16; arithmetic is the engine's business.
struct f16 {
  std::uint16_t bits;
};
struct bf16 {
  std::uint16_t bits;
};

/// [bytes] of one element: 4, 2 or 1.
constexpr std::int64_t width(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    case DType::i8:
    case DType::u8: return 1;
  }
  return 0;
}

/// "f32", "f16", "bf16", "i8", "u8".
constexpr std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::i8: return "i8";
    case DType::u8: return "u8";
  }
  return "?";
}

template <typename T>
inline constexpr bool is_element = false;
template <>
inline constexpr bool is_element<float> = true;
template <>
inline constexpr bool is_element<f16> = true;
template <>
inline constexpr bool is_element<bf16> = true;
template <>
inline constexpr bool is_element<std::int8_t> = true;
template <>
inline constexpr bool is_element<std::uint8_t> = true;

template <typename T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<f16> = DType::f16;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::i8;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

}  // namespace spillway
