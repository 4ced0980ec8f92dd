#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/step_options.h"
#include "compute_threads.h"
#include "model.h"
#include "offloaded_run.h"

#include "spillway/context.h"
#include "spillway/stats.h"

namespace spillway::steps {

/// What a step took; the mean of several. Of several ranks: the time of the slowest, the bytes of
/// all, and the mean of what they waited and computed.
struct StepFigures {
  double seconds = 0;
  double bytes_read = 0, bytes_written = 0;
  double stall_read_seconds = 0, stall_write_seconds = 0, stall_buffer_seconds = 0;
  double compute_seconds = 0, checksum_seconds = 0;

  double bytes() const { return bytes_read + bytes_written; }
};

/// What one variant is made of, over all ranks.
struct StepHouse {
  std::string engine;
  bool direct_io = false;
  std::int64_t tiles = 0, resident_tiles = 0, tile_bytes = 0;
  std::int64_t buffers = 0;  ///< of each rank
  std::int64_t region_bytes = 0, resident_share_bytes = 0, pinned_bytes = 0, metadata_bytes = 0;
  double huge_page_share = 0;
};

/// One variant, set up and ready to step.
class Stepper {
 public:
  virtual ~Stepper() = default;
  /// `count` steps; the mean. Throws Error, Stopped.
  virtual StepFigures steps(std::int64_t count) = 0;
  virtual StepHouse house() const = 0;
  /// Of each rank in turn: its paths, with the proof of direct I/O and the state's file.
  virtual std::vector<PathStats> paths() const = 0;
  /// All states as they were at first, whatever somebody wrote to their files meanwhile.
  /// Throws Error, Stopped.
  virtual void start_again() = 0;
};

/// In this process.
class StepRun final : public Stepper {
 public:
  /// Plan, memory, first values, first masters. `model` and `threads` must outlive this.
  /// Throws Error, Stopped.
  StepRun(const demo::Model& model, const Config& config, const demo::StepWork& work,
          demo::ComputeThreads& threads, const Rank& rank = {});

  StepFigures steps(std::int64_t count) override;
  StepHouse house() const override;
  std::vector<PathStats> paths() const override { return run_.context().stats().paths; }
  void start_again() override;
  /// Transfers, compute and waits from now on; null: none.
  void record(std::shared_ptr<Timeline> timeline) { run_.record(std::move(timeline)); }

 private:
  demo::OffloadedRun run_;
  std::int64_t step_ = 0;
};

/// As much of the model as fits into `bytes` of AdamW state, whole tensors as long as they go.
demo::Model cut_model(const demo::Model& model, std::int64_t bytes);
/// One rank's share: of every tensor one of `ranks` even parts, as ZeRO partitions them.
demo::Model share_of(const demo::Model& model, int rank, int ranks);

}  // namespace spillway::steps
