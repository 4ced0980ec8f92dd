#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "state_hash.h"

namespace spillway::demo {

/// What to compute, in memory and offloaded alike.
struct Work {
  std::string model = {};
  std::optional<std::int64_t> layers = std::nullopt;
  std::int64_t steps = 0;
  std::uint64_t seed = 0;
  int threads = 1;
};

struct ReferenceResult {
  std::vector<double> step_seconds;
  Hashes hashes;
  double huge_page_share = 0;  ///< of its arrays
};

/// Runs the optimizer in memory, in a process of its own that has ended when this returns, so that
/// this process's figures are those of the offloaded run alone. `on_step` is called after each
/// step.
/// Throws Error (out_of_memory, io_error); Stopped, when a signal came meanwhile.
ReferenceResult run_reference(const Work& work, const std::function<void()>& on_step);

/// The other side: the whole of that process, whose parent is `parent`. Returns its exit status.
int serve_reference(const Work& work, int parent);

}  // namespace spillway::demo
