#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/swap_fixture.h"
#include "support/twin.h"

namespace spillway::test {

/// Where state lives, and how it moves.
struct Home {
  OffloadDevice device = OffloadDevice::nvme;
  double ratio = 1;
  bool undo = false;
  bool pipeline_read = true;
  bool pipeline_write = true;
  /// Dropped tiles are old everywhere.
  bool keeps_old() const { return undo || (device == OffloadDevice::nvme && ratio == 1); }
};

inline std::string describe(const Home& home) {
  static constexpr const char* devices[] = {"none", "cpu", "nvme"};
  std::string text = devices[static_cast<int>(home.device)];
  text += "_ratio" + std::to_string(static_cast<int>(home.ratio * 100));
  text += home.undo ? "_undo" : "";
  text += home.pipeline_read ? "_read" : "";
  text += home.pipeline_write ? "_write" : "";
  return text;
}

inline std::string home_name(const ::testing::TestParamInfo<Home>& info) {
  return describe(info.param);
}

/// The five places, with both pipelines.
inline std::vector<Home> homes() {
  return {{.device = OffloadDevice::none},
          {.device = OffloadDevice::cpu},
          {.ratio = 0},
          {.ratio = 0.5},
          {.ratio = 1}};
}

/// Three buffers of `tile_bytes` (48 KiB: 4096 elements of three f32 states).
inline Config config_for(const Home& home, const std::filesystem::path& path,
                         std::int64_t tile_bytes = 48 * 1024) {
  Config config = small_config(home.device, path);
  config.offload_optimizer.buffer_size = tile_bytes;
  config.offload_optimizer.ratio = home.ratio;
  config.offload_optimizer.pipeline_read = home.pipeline_read;
  config.offload_optimizer.pipeline_write = home.pipeline_write;
  return config;
}

inline std::vector<float> read(OptimizerSwapper& swapper, ParamId id, std::string_view state) {
  std::vector<float> values(static_cast<std::size_t>(swapper.elements(id)), -1);
  swapper.read_state<float>(id, state, 0, values);
  return values;
}

/// The code of the Error that `call` throws; nullopt: it throws none.
template <typename Call>
std::optional<Errc> error_of(Call call, std::string* text = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (text != nullptr) *text = error.what();
    return error.code();
  }
  return std::nullopt;
}

/// Adam of the twin's on parameters p0, p1, ... with tags 1, 2, ..., in units of `per_unit`.
struct Trainer {
  OptimizerSwapper swapper;
  Twin twin;
  std::vector<ParamId> ids;
  std::vector<UnitId> units;

  Trainer(Context& context, const std::vector<std::int64_t>& sizes, bool undo = false,
          std::size_t per_unit = SIZE_MAX)
      : swapper(context, {.states = {{"w"}, {"m"}, {"v"}}, .undo = undo}) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (i % per_unit == 0)
        units.push_back(i == 0 ? default_unit
                               : swapper.add_unit("unit " + std::to_string(units.size())));
      twin.add(i + 1, sizes[i]);
      ids.push_back(
          swapper.add("p" + std::to_string(i), sizes[i], {.unit = units.back(), .tag = i + 1}));
    }
  }

  /// What a load pass does: all states as the twin has them.
  void load() { load(swapper.begin({.write = {"w", "m", "v"}})); }
  void load(Run run) {
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) {
        const Twin::Param& from = twin.params[slice.tag - 1];
        copy(slice, "w", from.w), copy(slice, "m", from.m), copy(slice, "v", from.v);
      }
      tile->commit();
    }
  }
  static void copy(const Slice& slice, std::string_view state, const std::vector<float>& from) {
    const auto to = slice.of<float>(state);
    std::copy_n(from.begin() + slice.offset, to.size(), to.begin());
  }
  void step(std::int64_t n) {
    swapper.step(n, [n](const Slice& slice) { update(slice, n); });
  }
  void expect_equal(const std::string& when) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(read(swapper, ids[i], "w"), twin.params[i].w) << when << ": w of p" << i;
      EXPECT_EQ(read(swapper, ids[i], "m"), twin.params[i].m) << when << ": m of p" << i;
      EXPECT_EQ(read(swapper, ids[i], "v"), twin.params[i].v) << when << ": v of p" << i;
    }
  }
};

}  // namespace spillway::test
