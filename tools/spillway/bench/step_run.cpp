#include "bench/step_run.h"

#include <algorithm>

#include "stop_signals.h"

#include "spillway/log.h"

namespace spillway::steps {
namespace {

constexpr std::uint64_t seed = 1;
constexpr std::int64_t state_width = 12;  // [bytes] of an element: three times fp32

void keep_going(std::int64_t) {
  // That a step is left early is what was asked for: no news for the log.
  if (tool::StopSignals::received() != 0) set_log_level(LogLevel::error);
  tool::StopSignals::check();
}

}  // namespace

StepRun::StepRun(const demo::Model& model, const Config& config, const demo::StepWork& work,
                 demo::ComputeThreads& threads, const Rank& rank)
    : run_(model, config, seed, threads, work, rank) {
  run_.set_up(keep_going);
}

StepFigures StepRun::steps(std::int64_t count) {
  const OptimizerStats before = run_.stats();
  StepFigures figures;
  for (std::int64_t i = 0; i < count; ++i) figures.seconds += run_.step(++step_, keep_going);
  const OptimizerStats after = run_.stats();
  const auto steps = static_cast<double>(count);
  figures.seconds /= steps;
  figures.bytes_read = static_cast<double>(after.bytes_read - before.bytes_read) / steps;
  figures.bytes_written = static_cast<double>(after.bytes_written - before.bytes_written) / steps;
  const auto mean = [&](double OptimizerStats::*value) {
    return (after.*value - before.*value) / steps;
  };
  figures.stall_read_seconds = mean(&OptimizerStats::stall_read_seconds);
  figures.stall_write_seconds = mean(&OptimizerStats::stall_write_seconds);
  figures.stall_buffer_seconds = mean(&OptimizerStats::stall_buffer_seconds);
  figures.compute_seconds = mean(&OptimizerStats::compute_seconds);
  figures.checksum_seconds = mean(&OptimizerStats::checksum_seconds);
  return figures;
}

void StepRun::start_again() { run_.start_again(keep_going); }

StepHouse StepRun::house() const {
  const OptimizerStats stats = run_.stats();
  const ContextStats context = run_.context().stats();
  return {.engine = context.engine,
          .direct_io =
              !context.paths.empty() && std::ranges::all_of(context.paths, &PathStats::direct_io),
          .tiles = stats.tiles,
          .resident_tiles = stats.resident_tiles,
          .tile_bytes = stats.tile_bytes,
          .buffers = stats.buffers,
          .region_bytes = stats.memory.region_bytes,
          .resident_share_bytes = stats.memory.resident_share_bytes,
          .pinned_bytes = stats.memory.pinned_bytes,
          .metadata_bytes = stats.memory.metadata_bytes,
          .huge_page_share = stats.memory.huge_page_share};
}

demo::Model cut_model(const demo::Model& model, std::int64_t bytes) {
  demo::Model cut = model;
  cut.tensors.clear();
  std::int64_t left = std::max<std::int64_t>(bytes / state_width, 1);
  for (const demo::Tensor& tensor : model.tensors) {
    if (left <= 0) break;
    cut.tensors.push_back({tensor.name, std::min(left, tensor.elements)});
    left -= tensor.elements;
  }
  return cut;
}

demo::Model share_of(const demo::Model& model, int rank, int ranks) {
  demo::Model share = model;
  for (demo::Tensor& tensor : share.tensors)
    tensor.elements = tensor.elements * (rank + 1) / ranks - tensor.elements * rank / ranks;
  return share;
}

}  // namespace spillway::steps
