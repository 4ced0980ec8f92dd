#include "step_work.h"

#include <algorithm>

namespace spillway::demo {

std::string_view name_of(WorkKind kind) {
  switch (kind) {
    case WorkKind::adamw: return "adamw";
    case WorkKind::fill: return "fill";
    case WorkKind::none: return "none";
  }
  return "?";
}

std::optional<WorkKind> work_named(std::string_view name) {
  for (const WorkKind kind : {WorkKind::adamw, WorkKind::fill, WorkKind::none})
    if (name == name_of(kind)) return kind;
  return std::nullopt;
}

WorkOfStep::WorkOfStep(const StepWork& work, std::uint64_t seed, std::int64_t step)
    : work_(work), seed_(seed), step_(step), kernel_(best_kernel()), constants_(AdamW().at(step)) {}

void WorkOfStep::operator()(const Turn& turn) const {
  for (int i = 0; i < work_.repeat; ++i) switch (work_.kind) {
      case WorkKind::adamw:
        adamw_update(kernel_, turn.master, turn.exp_avg, turn.exp_avg_sq, turn.first, turn.count,
                     stream_key(seed_, turn.tensor, step_), constants_);
        break;
      case WorkKind::fill:
        for (float* const state : {turn.master, turn.exp_avg, turn.exp_avg_sq})
          std::fill_n(state, turn.count, static_cast<float>(step_));
        break;
      case WorkKind::none: break;
    }
}

}  // namespace spillway::demo
