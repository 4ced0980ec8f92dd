#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "spillway/optimizer_swapper.h"

namespace spillway::swap {

inline constexpr int max_states = 32;
/// Vector loads of the widest kind want it; every slice starts on it in every section. [bytes]
inline constexpr std::int64_t slice_alignment = 64;
/// Parameters are cut at multiples of this (or of a larger one that every state's
/// elements_per_value divides), so that a kernel's vector body and scalar tail fall alike
/// whatever the tile size. [elements]
inline constexpr std::int64_t cut_elements = 4096;

/// How much of each state one tile can hold, and where slices fall in it.
///
/// A tile of 4 MiB with three fp32 states: 4 MiB / 12 = 349525 elements, down to a multiple of
/// 4096: 348160. Its sections are 348160 * 4 = 1392640 bytes each, 340 pages of 4096.
class Layout {
 public:
  /// `footprint` gives what a section of some payload takes in a buffer (alignment, trailer).
  /// Throws Error invalid_argument: bad states, or a tile that cannot hold one cut; the text names
  /// the smallest tile_bytes that works.
  Layout(std::vector<State> states, std::int64_t tile_bytes,
         const std::function<std::int64_t(std::int64_t)>& footprint);

  const std::vector<State>& states() const { return states_; }
  int count() const { return static_cast<int>(states_.size()); }
  /// Index of the state, or -1.
  int find(std::string_view name) const;
  void set_initial(int s, double value) { states_[static_cast<std::size_t>(s)].initial = value; }
  std::int64_t tile_bytes() const { return tile_bytes_; }
  std::int64_t tile_elements() const { return tile_elements_; }
  std::int64_t cut() const { return cut_; }

  /// Values of state `s` for `elements` elements, and their bytes.
  std::int64_t values(int s, std::int64_t elements) const;
  std::int64_t bytes(int s, std::int64_t elements) const;
  /// [bytes] a section of state `s` can hold.
  std::int64_t capacity(int s) const { return capacity_[static_cast<std::size_t>(s)]; }

  /// How many of `elements` still fit behind `used[s]` bytes of each section: all of them, else a
  /// multiple of cut(), else 0.
  std::int64_t room(std::span<const std::int64_t> used, std::int64_t elements) const;
  /// Moves `used` past a slice of `elements`.
  void advance(std::span<std::int64_t> used, std::int64_t elements) const;

 private:
  std::vector<State> states_;
  std::int64_t tile_bytes_ = 0;
  std::int64_t tile_elements_ = 0;
  std::int64_t cut_ = cut_elements;
  std::vector<std::int64_t> capacity_;
};

/// Throws Error invalid_argument if the dtype of `state` cannot hold `value`.
void check_constant(const State& state, double value);

/// Fills `to` with `value` as `dtype` holds it (round to nearest even).
void fill_constant(std::span<std::byte> to, DType dtype, double value);

}  // namespace spillway::swap
