#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/step_run.h"
#include "piped_process.h"

namespace spillway::steps {

/// Several ranks, each a process of its own with its share of the state, as the ranks of a job are
/// processes. They begin a turn together, and it has ended when the last one has done its steps.
class RankedRun final : public Stepper {
 public:
  /// Starts them and waits until all are set up. `threads`: of all ranks together.
  /// Throws Error, the ranks' own too; Stopped.
  RankedRun(const Options& options, const Config& config, int threads);

  StepFigures steps(std::int64_t count) override;
  StepHouse house() const override { return house_; }
  std::vector<PathStats> paths() const override { return paths_; }
  void start_again() override;

 private:
  std::vector<std::unique_ptr<tool::PipedProcess>> ranks_;
  StepHouse house_;
  std::vector<PathStats> paths_;
};

/// The other side: the whole of that process, whose parent is `parent`. Returns its exit status.
int serve_rank(int parent);

}  // namespace spillway::steps
