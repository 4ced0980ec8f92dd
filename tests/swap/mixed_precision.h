#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "support/twin.h"
#include "swap/contents.h"

#include "spillway/spillway.h"

namespace spillway::test {

/// What 16 bits mean, by the definition of the format rather than by shifting.
inline float meaning(DType dtype, std::uint16_t bits) {
  const int exponent_bits = dtype == DType::f16 ? 5 : 8, fraction_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
  const int exponent = (bits >> fraction_bits) & top, fraction = bits & ((1 << fraction_bits) - 1);
  const double size = exponent == top ? (fraction == 0 ? HUGE_VAL : std::nan(""))
                      : exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                      : std::ldexp(fraction + (1 << fraction_bits),
                                                   exponent - bias - fraction_bits);
  return static_cast<float>((bits & 0x8000) != 0 ? -size : size);
}

/// Some 16-bit value near `value`: towards zero, and nothing below 2^-14.
inline std::uint16_t cut_to(DType dtype, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (dtype == DType::bf16) return static_cast<std::uint16_t>(bits >> 16);
  const std::uint32_t sign = (bits >> 16) & 0x8000, exponent = (bits >> 23) & 0xff;
  if (exponent < 113) return static_cast<std::uint16_t>(sign);
  return static_cast<std::uint16_t>(sign | ((exponent - 112) << 10) | ((bits >> 13) & 0x3ff));
}

/// Values of one dtype as bytes.
inline std::vector<std::byte> stored(DType dtype, std::span<const float> values) {
  const auto size = static_cast<std::size_t>(width(dtype));
  std::vector<std::byte> bytes(values.size() * size);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half = dtype == DType::f32 ? 0 : cut_to(dtype, values[i]);
    std::memcpy(bytes.data() + i * size,
                dtype == DType::f32 ? static_cast<const void*>(&values[i]) : &half, size);
  }
  return bytes;
}

inline std::vector<float> meanings(DType dtype, std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / static_cast<std::size_t>(width(dtype)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t half = 0;
    if (dtype == DType::f32) {
      std::memcpy(&values[i], bytes.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, bytes.data() + 2 * i, 2);
      values[i] = meaning(dtype, half);
    }
  }
  return values;
}

/// The engine of mixed precision: 16-bit parameters that forward and backward fetch, states w
/// (filled from them), m and v in an optimizer swapper, and a copy-out attached to each tile.
struct MixedTrainer {
  DType dtype;
  ParameterSwapper lp;
  OptimizerSwapper hp;
  Twin twin;
  std::vector<ParamId> lp_ids, hp_ids;

  MixedTrainer(Context& context, DType stored_as, const std::vector<std::int64_t>& sizes,
               bool undo = false, std::size_t per_unit = SIZE_MAX)
      : dtype(stored_as),
        lp(context, {.name = "lp"}),
        hp(context, {.states = {{"w"}, {"m"}, {"v"}}, .undo = undo}) {
    UnitId unit = default_unit;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (i > 0 && i % per_unit == 0) unit = hp.add_unit("unit " + std::to_string(i));
      add(sizes[i], unit);
    }
  }

  void add(std::int64_t elements, UnitId unit = default_unit) {
    const std::uint64_t tag = hp_ids.size();
    twin.add(tag, elements);
    const std::vector<std::byte> bytes = stored(dtype, twin.params.back().w);
    twin.params.back().w = meanings(dtype, bytes);
    lp_ids.push_back(lp.add("lp" + std::to_string(tag), elements, dtype, {.init = bytes}));
    hp_ids.push_back(hp.add("p" + std::to_string(tag), elements,
                            {.unit = unit, .tag = tag, .from = {{"w", &lp, lp_ids.back()}}}));
  }

  void update(Tile& tile, std::int64_t n) {
    for (const Slice& slice : tile.slices()) {
      test::update(slice, n);
      Lease out = lp.fetch(lp_ids[slice.tag], Access::overwrite, {slice.offset, slice.count});
      const std::vector<std::byte> bytes = stored(dtype, slice.of<const float>("w"));
      std::memcpy(out.tensors()[0].raw_mutable().data(), bytes.data(), bytes.size());
      tile.attach(std::move(out));
    }
  }
  void pull(spillway::Run& run, std::int64_t n) {
    while (auto tile = run.next()) {
      update(*tile, n);
      tile->commit();
    }
  }
  void step(std::int64_t n) {
    spillway::Run run = hp.begin_step(n);
    pull(run, n);
  }
  void both(std::int64_t n) {
    step(n);
    twin.step(n);
  }

  /// Displaces what lies in the pool of the parameters: the next fetch comes from the store.
  void empty_pool(std::int64_t bytes) {
    lp.flush();
    const ParamId large = lp.add("large", bytes, DType::u8);
    { const Lease all = lp.fetch(large, Access::overwrite); }
    lp.remove(large);
  }

  std::vector<std::byte> parameter(std::size_t i) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(lp.elements(lp_ids[i]) * width(dtype)));
    lp.read_into(lp_ids[i], std::span<std::byte>(bytes)).wait();
    return bytes;
  }
  void expect_equal(const std::string& when) {
    for (std::size_t i = 0; i < hp_ids.size(); ++i) {
      EXPECT_EQ(read(hp, hp_ids[i], "w"), twin.params[i].w) << when << ": w of p" << i;
      EXPECT_EQ(read(hp, hp_ids[i], "m"), twin.params[i].m) << when << ": m of p" << i;
      EXPECT_EQ(read(hp, hp_ids[i], "v"), twin.params[i].v) << when << ": v of p" << i;
      EXPECT_EQ(parameter(i), stored(dtype, twin.params[i].w)) << when << ": lp" << i;
    }
  }
};

/// Tiles of 8192 elements; parameters on the same device, `count` buffers of `size` bytes.
inline Config mixed_config(const Home& home, const std::filesystem::path& path,
                           std::int64_t count = 8, std::int64_t size = 64 * 1024,
                           std::int64_t cap = 0) {
  Config config = config_for(home, path, 128 * 1024);
  config.offload_param.device = home.device;
  if (home.device == OffloadDevice::nvme) config.offload_param.nvme_path = {path};
  config.offload_param.buffer_count = count;
  config.offload_param.buffer_size = size;
  config.offload_param.max_in_cpu = cap;
  return config;
}

}  // namespace spillway::test
