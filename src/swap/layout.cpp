#include "swap/layout.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/align.h"
#include "base/throw.h"

namespace spillway::swap {
namespace {

constexpr std::int64_t max_tile_bytes = std::int64_t{1} << 37;  // offsets are kept in 64-byte units

}  // namespace

void check_constant(const State& state, double value) {
  const bool is_signed = state.dtype == DType::i8;
  if ((is_signed || state.dtype == DType::u8) &&
      !(value == std::floor(value) && value >= (is_signed ? -128 : 0) &&
        value <= (is_signed ? 127 : 255)))
    throw_error(Errc::invalid_argument, "state \"{}\": {} is not a value of {}", state.name, value,
                to_string(state.dtype));
}

namespace {

void check_states(const std::vector<State>& states) {
  if (states.empty() || states.size() > max_states)
    throw_error(Errc::invalid_argument, "an optimizer needs 1 to {} states, not {}", max_states,
                states.size());
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (states[i].name.empty())
      throw_error(Errc::invalid_argument, "state {} has no name: every state needs one", i);
    if (states[i].elements_per_value < 1 || states[i].elements_per_value > cut_elements * 1024)
      throw_error(Errc::invalid_argument,
                  "state \"{}\": elements_per_value is {}; it must be from 1 to {}", states[i].name,
                  states[i].elements_per_value, cut_elements * 1024);
    check_constant(states[i], states[i].initial);
    for (std::size_t j = 0; j < i; ++j)
      if (states[i].name == states[j].name)
        throw_error(Errc::invalid_argument, "two states are named \"{}\": names must differ",
                    states[i].name);
  }
}

// Round to nearest, ties to even; NaN stays one.
std::uint16_t bits_of_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

std::uint16_t bits_of_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00);
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7c00);
  if (magnitude < 0x1p-14f)  // subnormal: a whole number of 2^-24
    return static_cast<std::uint16_t>(
        sign | static_cast<std::uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  const std::uint32_t rounded = (bits & 0x7fffffff) + 0xfff + ((bits >> 13) & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - (112u << 23)) >> 13));
}

template <typename T>
void fill_as(std::span<std::byte> to, T value) {
  std::fill_n(reinterpret_cast<T*>(to.data()), to.size() / sizeof(T), value);
}

}  // namespace

Layout::Layout(std::vector<State> states, std::int64_t tile_bytes,
               const std::function<std::int64_t(std::int64_t)>& footprint)
    : states_(std::move(states)), tile_bytes_(tile_bytes) {
  check_states(states_);
  for (const State& state : states_) {
    cut_ = std::lcm(cut_, state.elements_per_value);
    if (cut_ > cut_elements * 1024 * 1024)
      throw_error(Errc::invalid_argument,
                  "the elements_per_value of the states have no common multiple below {}",
                  cut_elements * 1024 * 1024);
  }
  if (tile_bytes > max_tile_bytes)
    throw_error(Errc::invalid_argument, "tile_bytes is {}; the most is {}", tile_bytes,
                max_tile_bytes);
  const auto need = [&](std::int64_t elements) {
    std::int64_t sum = 0;
    for (int s = 0; s < count(); ++s)
      sum += footprint(align_up(bytes(s, elements), slice_alignment));
    return sum;
  };
  if (need(cut_) > tile_bytes)
    throw_error(Errc::invalid_argument,
                "a tile of {} bytes cannot hold {} elements of all {} states: set tile_bytes "
                "(offload_optimizer.buffer_size) to {} at least",
                tile_bytes, cut_, states_.size(), need(cut_));
  // Bisection over whole cuts: `need` grows with the elements.
  std::int64_t low = 1, high = 2;
  while (need(high * cut_) <= tile_bytes) low = high, high *= 2;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (need(middle * cut_) <= tile_bytes ? low : high) = middle;
  }
  tile_elements_ = low * cut_;
  for (int s = 0; s < count(); ++s)
    capacity_.push_back(align_up(bytes(s, tile_elements_), slice_alignment));
}

int Layout::find(std::string_view name) const {
  for (std::size_t s = 0; s < states_.size(); ++s)
    if (states_[s].name == name) return static_cast<int>(s);
  return -1;
}

std::int64_t Layout::values(int s, std::int64_t elements) const {
  return divide_up(elements, states_[static_cast<std::size_t>(s)].elements_per_value);
}

std::int64_t Layout::bytes(int s, std::int64_t elements) const {
  return values(s, elements) * width(states_[static_cast<std::size_t>(s)].dtype);
}

std::int64_t Layout::room(std::span<const std::int64_t> used, std::int64_t elements) const {
  const auto fits = [&](std::int64_t n) {
    for (int s = 0; s < count(); ++s)
      if (used[static_cast<std::size_t>(s)] + align_up(bytes(s, n), slice_alignment) > capacity(s))
        return false;
    return true;
  };
  if (elements <= tile_elements_ && fits(elements)) return elements;
  std::int64_t low = 0, high = tile_elements_ / cut_ + 1;  // in cuts; low fits, high does not
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle * cut_) ? low : high) = middle;
  }
  return std::min(low * cut_, align_down(elements, cut_));
}

void Layout::advance(std::span<std::int64_t> used, std::int64_t elements) const {
  for (int s = 0; s < count(); ++s)
    used[static_cast<std::size_t>(s)] += align_up(bytes(s, elements), slice_alignment);
}

void fill_constant(std::span<std::byte> to, DType dtype, double value) {
  if (value == 0 && !std::signbit(value)) {
    std::memset(to.data(), 0, to.size());
    return;
  }
  switch (dtype) {
    case DType::f32: fill_as(to, static_cast<float>(value)); break;
    case DType::f16: fill_as(to, bits_of_f16(static_cast<float>(value))); break;
    case DType::bf16: fill_as(to, bits_of_bf16(static_cast<float>(value))); break;
    case DType::i8: fill_as(to, static_cast<std::int8_t>(value)); break;
    case DType::u8: fill_as(to, static_cast<std::uint8_t>(value)); break;
  }
}

}  // namespace spillway::swap
