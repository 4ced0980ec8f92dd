#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "adamw.h"

namespace spillway::demo {

/// One thread's turn: a run of elements of one tensor, and where its three states stand.
struct Turn {
  std::size_t tensor = 0;
  std::int64_t first = 0, count = 0;  ///< [elements] of the tensor
  float* master = nullptr;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
};

enum class WorkKind {
  adamw,
  fill,  ///< every value becomes the number of the step: a device in memory stores it for free
  none   ///< nothing is touched, all of it counts as changed
};

/// "adamw", "fill", "none".
std::optional<WorkKind> work_named(std::string_view name);
std::string_view name_of(WorkKind kind);

/// What a step computes on its states, `repeat` times over: the same bytes with more compute.
struct StepWork {
  WorkKind kind = WorkKind::adamw;
  int repeat = 1;
};

/// The work of one step. Threads: operator() from several at once, on different elements.
class WorkOfStep {
 public:
  /// Steps count from 1.
  WorkOfStep(const StepWork& work, std::uint64_t seed, std::int64_t step);

  void operator()(const Turn& turn) const;
  bool idle() const { return work_.kind == WorkKind::none; }

 private:
  StepWork work_;
  std::uint64_t seed_;
  std::int64_t step_;
  const Kernel& kernel_;
  AdamWStep constants_;
};

}  // namespace spillway::demo
