#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "state_hash.h"

#include "spillway/config.h"
#include "spillway/stats.h"

namespace spillway::demo {

/// What a demo did, as its table and its JSON tell it.
struct Report {
  std::string model;
  std::int64_t layers = 0, whole_layers = 0;
  std::int64_t tensors = 0, params = 0;
  std::uint64_t seed = 0;
  std::int64_t steps = 0;
  int threads = 0;
  std::string kernel;
  Config config;

  double setup_seconds = 0;
  std::vector<double> step_seconds;
  // The steps alone: without set-up and comparison.
  std::int64_t bytes_read = 0, bytes_written = 0;
  double stall_read_seconds = 0, stall_write_seconds = 0, stall_buffer_seconds = 0;
  double compute_seconds = 0, checksum_seconds = 0;
  // A steady step: the last one.
  double bytes_read_per_param = 0, bytes_written_per_param = 0;

  std::vector<double> in_memory_step_seconds;  ///< empty: the run in memory was left out
  double in_memory_huge_page_share = 0;
  std::string in_memory_left_out;  ///< and why
  std::optional<Difference> difference;

  OptimizerStats optimizer;
  ContextStats context;
  std::int64_t peak_rss_bytes = 0;

  bool compared() const { return !in_memory_step_seconds.empty(); }
  bool bit_exact() const { return compared() && !difference; }
  bool direct_io() const;
  std::int64_t rss_over_pool_bytes() const;
};

/// Exactly one JSON object, as `--json` prints it.
std::string to_json(const Report& report);

/// For people.
std::string to_table(const Report& report);

/// "12,345,678".
std::string grouped(std::int64_t value);
/// "1.39 GiB".
std::string bytes_text(std::int64_t bytes);
double median(std::vector<double> values);

}  // namespace spillway::demo
