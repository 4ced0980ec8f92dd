#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/machine_report.h"
#include "bench/params_options.h"
#include "bench/params_run.h"

namespace spillway::params {

/// One pass at one size of the cache.
struct Result {
  Cap cap;
  std::int64_t pass = 0;  ///< from 1
  PassFigures figures;
  double lru_hit_rate = 0, belady_hit_rate = 0;  ///< of the same accesses, offline
  std::int64_t peak_cached_elements = 0;
  std::int64_t peak_cached_bytes = 0, peak_pool_bytes = 0;  ///< so far, at this cap
};

struct Report {
  tool::MachineReport machine;
  std::vector<std::string> warnings;
  std::string model;
  std::int64_t layers = 0, whole_layers = 0;
  std::int64_t tensors = 0, units = 0, params = 0, bytes = 0;
  Trace trace = Trace::forward_backward;
  double think_ms = 0;
  std::int64_t passes = 0;
  Config config;         ///< with the last max_in_cpu
  ContextStats context;  ///< of the last run
  MemoryStats memory;
  std::vector<Result> results;
};

/// {"machine": {…}, …, "results": [one object per cap and pass]}
std::string to_json(const Report& report);
/// For people.
std::string to_table(const Report& report);

}  // namespace spillway::params
