#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/swap_fixture.h"
#include "support/twin.h"

#include "spillway/spillway.h"

namespace spillway::test {

/// Optimizer state and parameters both on `path`, with budgets that hold a part of a small model.
inline Config job_config(const std::filesystem::path& path) {
  Config config = small_config(OffloadDevice::nvme, path);
  config.offload_optimizer.buffer_size = 48 * 1024;  // 4096 elements of three f32 states
  config.offload_param.device = OffloadDevice::nvme;
  config.offload_param.nvme_path = {path};
  config.offload_param.buffer_count = 4;
  config.offload_param.buffer_size = 128 * 1024;
  config.offload_param.max_in_cpu = 9000;
  return config;
}

/// A training job that uses the whole house: Adam's master, momentum and variance in an optimizer
/// swapper, and the weights that it makes in a parameter swapper, attached tile by tile. A twin in
/// plain memory does the same.
class Job {
 public:
  static std::vector<std::int64_t> small_model() { return {9000, 7, 4096, 5000}; }

  explicit Job(Context& context, const std::vector<std::int64_t>& sizes = small_model(),
               bool undo = false)
      : optimizer(context, {.states = {{"w"}, {"m"}, {"v"}}, .undo = undo}), weights(context) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const std::string name = "layer" + std::to_string(i);
      const UnitId unit = i == 0 ? default_unit : weights.add_unit(name);
      twin.add(i, sizes[i]);
      states.push_back(optimizer.add(name, sizes[i], {.tag = i}));
      const std::span<const float> first(twin.params[i].w);
      copies.push_back(weights.add(name, sizes[i], DType::f32,
                                   {.unit = unit, .tag = i, .init = std::as_bytes(first)}));
      units.push_back(unit);
    }
  }

  /// The master weights as the twin has them.
  void load() {
    Run run = optimizer.begin({.write = {"w"}});
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) {
        const auto to = slice.of<float>("w");
        std::copy_n(twin.params[slice.tag].w.begin() + slice.offset, to.size(), to.begin());
      }
      tile->commit();
    }
  }

  /// Called with every slice of a step before it is updated; may throw.
  using Hook = std::function<void(const Slice&)>;

  /// Step `n`, or what is left of it. The twin follows when it has succeeded.
  void step(std::int64_t n, const Hook& hook = {}) {
    {
      Run run = optimizer.begin_step(n);
      while (auto tile = run.next()) {
        for (const Slice& next : run.upcoming())
          weights.prefetch(copies[next.tag], {next.offset, next.count});
        for (const Slice& slice : tile->slices()) {
          if (hook) hook(slice);
          update(slice, n);
          const auto w = slice.of<const float>("w");
          Lease out =
              weights.fetch(copies[slice.tag], Access::overwrite, {slice.offset, slice.count});
          std::copy(w.begin(), w.end(), out.as<float>().begin());
          tile->attach(std::move(out));
        }
        tile->commit();
      }
    }
    twin.step(n);
  }

  /// Fetches all weights, unit by unit, as a forward pass would. "": they are the twin's.
  std::string forward() {
    weights.begin_pass("forward");
    for (std::size_t i = 0; i < units.size(); ++i) {
      if (i + 1 < units.size()) weights.prefetch(units[i + 1]);
      const Lease lease = weights.fetch(units[i]);
      const auto got = lease.as<const float>();
      if (!std::equal(got.begin(), got.end(), twin.params[i].w.begin(), twin.params[i].w.end()))
        return "weights of layer" + std::to_string(i) + " differ";
    }
    return {};
  }

  /// "": every state and every weight is the twin's, bit for bit.
  std::string difference() {
    for (std::size_t i = 0; i < states.size(); ++i) {
      const Twin::Param& param = twin.params[i];
      for (const auto& [name, expected] :
           {std::pair<const char*, const std::vector<float>&>{"w", param.w},
            {"m", param.m},
            {"v", param.v}}) {
        std::vector<float> got(expected.size());
        optimizer.read_state<float>(states[i], name, 0, std::span(got));
        if (got != expected)
          return std::string(name) + " of layer" + std::to_string(i) + " differs";
      }
    }
    return forward();
  }

  Twin twin;
  OptimizerSwapper optimizer;
  ParameterSwapper weights;
  std::vector<ParamId> states, copies;
  std::vector<UnitId> units;
};

}  // namespace spillway::test
