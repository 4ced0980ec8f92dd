#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "compute_threads.h"
#include "model.h"
#include "pieces.h"
#include "state_hash.h"
#include "step_work.h"

#include "spillway/context.h"
#include "spillway/optimizer_swapper.h"
#include "spillway/timeline.h"

namespace spillway::demo {

/// AdamW with its three fp32 states in an OptimizerSwapper: what an engine writes, plus the stop
/// between tiles. `on_tile(elements)` is called after each tile's commit; an exception from it
/// ends the pass as any other would.
class OffloadedRun {
 public:
  using OnTile = std::function<void(std::int64_t elements)>;

  /// Makes the context and reserves the space of every tensor. Throws what these throw.
  OffloadedRun(const Model& model, const Config& config, std::uint64_t seed,
               ComputeThreads& threads, const StepWork& work = {}, const Rank& rank = {});

  /// Plan, memory, first values, first masters.
  void set_up(const OnTile& on_tile);
  /// The first values of all states again, and nothing is read for it: whatever somebody did to the
  /// file meanwhile is gone.
  void start_again(const OnTile& on_tile);
  /// Steps count from 1. Returns the seconds that it took, up to the last byte written.
  double step(std::int64_t step, const OnTile& on_tile);
  /// A pass that reads every state of every tensor.
  Hashes hashes(const OnTile& on_tile);

  /// Adds transfers, compute and waits from now on to `timeline`; null: none.
  void record(std::shared_ptr<Timeline> timeline);

  const Context& context() const { return context_; }
  OptimizerStats stats() const { return swapper_.stats(); }

 private:
  void write_first_values(Run run, bool moments, const OnTile& on_tile);
  void add_span(Activity activity, std::int64_t begin_ns, std::int64_t bytes = 0) const;

  std::uint64_t seed_;
  ComputeThreads& threads_;
  StepWork work_;
  const Model& model_;
  Context context_;
  OptimizerSwapper swapper_;
  std::vector<Piece> pieces_;  // of the slice at hand, and the turns of the tile at hand: kept, so
  std::vector<Turn> turns_;    // that a step allocates nothing
  std::shared_ptr<Timeline> timeline_;
};

}  // namespace spillway::demo
