#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/params_content.h"
#include "bench/params_trace.h"

#include "spillway/context.h"
#include "spillway/parameter_swapper.h"

namespace spillway::params {

/// What one pass took.
struct PassFigures {
  double seconds = 0;
  double fetch_seconds = 0;   ///< in fetch(), of the part that reads
  double stall_seconds = 0;   ///< of the whole pass: waiting for reads, room and other leases
  double think_seconds = 0;   ///< asked for
  double update_seconds = 0;  ///< the step: overwriting
  double checksum_seconds = 0;
  std::int64_t bytes_fetched = 0;
  std::int64_t bytes_read = 0, bytes_written = 0;  ///< from and to the store
  std::int64_t bytes_read_for_fetches = 0;  ///< less what was read for the next pass, and so on
  std::int64_t prefetches = 0, evictions = 0;

  double hit_rate() const {
    return bytes_fetched == 0 ? 0.0
                              : 1.0 - static_cast<double>(bytes_read_for_fetches) /
                                          static_cast<double>(bytes_fetched);
  }
};

/// A model's 16-bit parameters in a ParameterSwapper, used as an engine would: fetch a unit, look
/// at it, think, give it back; then overwrite what was used.
class ParamsRun {
 public:
  /// Called where the run may end: between units, and while it thinks.
  using KeepGoing = std::function<void()>;

  /// Makes the context and reserves the space of every tensor. Throws what these throw.
  ParamsRun(const Workload& workload, const Config& config, KeepGoing keep_going);

  /// Gives every tensor its first values, on the store.
  void set_up();
  /// Throws Error corrupt where a page looked at does not hold what was last written to it: each
  /// page in the first pass and where there is time to think, else every 16th, so that what is
  /// timed is fetches; other ones in each pass.
  PassFigures pass(std::string_view name, const Pass& pass, std::chrono::nanoseconds think);

  ParameterStats stats() const { return swapper_.stats(); }
  ContextStats context_stats() const { return context_.stats(); }

 private:
  void fetch(const Unit& unit, std::chrono::nanoseconds think, PassFigures& figures);
  void overwrite(std::uint32_t tensor);
  void think_until(std::chrono::steady_clock::time_point end) const;

  const Workload& workload_;
  KeepGoing keep_going_;
  Context context_;
  ParameterSwapper swapper_;
  std::vector<UnitId> units_;
  std::vector<ParamId> params_;          // by tensor
  std::vector<std::uint32_t> versions_;  // by tensor
  std::int64_t passes_ = 0;
  Look look_;  // of the pass that runs
};

}  // namespace spillway::params
