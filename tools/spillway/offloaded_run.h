#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "adamw.h"
#include "compute_threads.h"
#include "model.h"
#include "pieces.h"
#include "state_hash.h"

#include "spillway/context.h"
#include "spillway/optimizer_swapper.h"

namespace spillway::demo {

/// AdamW with its three fp32 states in an OptimizerSwapper: what an engine writes, plus the stop
/// between tiles. `on_tile(elements)` is called after each tile's commit; an exception from it
/// ends the pass as any other would.
class OffloadedRun {
 public:
  using OnTile = std::function<void(std::int64_t elements)>;

  /// Makes the context and reserves the space of every tensor. Throws what these throw.
  OffloadedRun(const Model& model, const Config& config, std::uint64_t seed,
               ComputeThreads& threads);

  /// Plan, memory, first values, first masters.
  void set_up(const OnTile& on_tile);
  /// Steps count from 1. Returns the seconds that it took, up to the last byte written.
  double step(std::int64_t step, const OnTile& on_tile);
  /// A pass that reads every state of every tensor.
  Hashes hashes(const OnTile& on_tile);

  const Context& context() const { return context_; }
  OptimizerStats stats() const { return swapper_.stats(); }

 private:
  // One thread's turn: a run of elements of one slice.
  struct Turn {
    std::size_t tensor;
    std::int64_t first, count;
    float* master;
    float* exp_avg;
    float* exp_avg_sq;
  };

  std::uint64_t seed_;
  ComputeThreads& threads_;
  AdamW adamw_;
  const Model& model_;
  Context context_;
  OptimizerSwapper swapper_;
  std::vector<Piece> pieces_;  // of the slice at hand, and the turns of the tile at hand: kept, so
  std::vector<Turn> turns_;    // that a step allocates nothing
};

}  // namespace spillway::demo
