#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/disks.h"
#include "bench/machine_report.h"
#include "bench/spread.h"
#include "bench/step_run.h"

#include "spillway/stats.h"

namespace spillway::steps {

/// One variant in one round.
struct Turn {
  StepFigures step;
  std::int64_t bytes_read = 0, bytes_written = 0;  ///< of all its steps, as we say
  std::optional<tool::DeviceCounters> moved = {};  ///< as the disks say; unset: nobody counts
  std::optional<double> ceiling;  ///< [bytes per second] of the paths, just before and after
  std::optional<double> control;  ///< of these two the later over the earlier one
  std::string ceiling_doubt;      ///< why no ceiling can be told; empty: nothing is wrong
  double in_memory_seconds = 0;   ///< the same compute without the disk
  double first_seconds = 0;       ///< the step of the first variant, in the same round

  /// Why no rate can be told: the disks moved less. Empty where they did not, or do not count.
  std::string doubt() const { return tool::above_counters(bytes_read, bytes_written, moved); }
  std::optional<double> io_seconds() const {
    if (step.bytes() == 0) return 0;
    if (!ceiling) return std::nullopt;
    return step.bytes() / *ceiling;
  }
  /// The least that a step can take: the slower of disk and processor.
  std::optional<double> bound_seconds() const {
    const std::optional<double> io = io_seconds();
    if (!io) return std::nullopt;
    return std::max(*io, in_memory_seconds);
  }
  /// What it takes when nothing runs beside anything else.
  std::optional<double> unpipelined_seconds() const {
    const std::optional<double> io = io_seconds();
    if (!io) return std::nullopt;
    return *io + in_memory_seconds;
  }
};

struct Result {
  Variant variant;
  std::vector<Turn> turns;
  StepHouse house;

  /// The first doubt among them; empty: none.
  std::string withheld() const {
    for (const Turn& turn : turns)
      if (std::string doubt = turn.doubt(); !doubt.empty()) return doubt;
    return {};
  }
  std::string ceiling_withheld() const {
    for (const Turn& turn : turns)
      if (!turn.ceiling_doubt.empty()) return turn.ceiling_doubt;
    return {};
  }
};

struct Report {
  tool::MachineReport machine;
  std::string model;
  std::int64_t layers = 0, whole_layers = 0, params = 0;
  std::string compute, kernel;
  int repeat = 1, threads = 1, ranks = 1, rounds = 0;
  double seconds = 0;
  std::string ceiling;           ///< what measured it
  std::vector<PathStats> paths;  ///< with the proof of direct I/O; empty: not known
  double in_memory_share = 1;    ///< of the model, that the run in memory held; the rest is scaled
  std::vector<std::string> warnings;
  std::vector<Result> results;
};

/// Exactly one JSON object.
std::string to_json(const Report& report);
/// For people.
std::string to_table(const Report& report);

using tool::Spread;
/// Nullopt where one has no value.
std::optional<Spread> spread_of(const std::vector<std::optional<double>>& values);
/// Over the turns.
template <typename Value>
std::optional<Spread> spread(const Result& result, Value value) {
  std::vector<std::optional<double>> values;
  for (const Turn& turn : result.turns) values.push_back(value(turn));
  return spread_of(values);
}

}  // namespace spillway::steps
