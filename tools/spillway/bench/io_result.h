#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/disks.h"
#include "bench/io_options.h"
#include "bench/machine_report.h"
#include "bench/spread.h"

#include "spillway/path_load.h"
#include "spillway/stats.h"

namespace spillway::io_bench {

/// One run of one side, over all ranks.
struct Run {
  std::int64_t bytes_read = 0, bytes_written = 0;
  double seconds = 0, cpu_seconds = 0;
  LoadLatency read_latency = {}, write_latency = {};  ///< of the rank where each is worst
  std::optional<tool::DeviceCounters> moved = {};  ///< by the disks meanwhile; unset: nobody counts

  double bytes() const { return static_cast<double>(bytes_read + bytes_written); }
  double gb_per_second() const { return bytes() / seconds / 1e9; }
  double cpu_per_gib() const { return cpu_seconds / (bytes() / (1024.0 * 1024 * 1024)); }
  /// Why this rate cannot be true: the disks moved less. Empty where they did not, or do not count.
  std::string doubt() const;
};

/// Our runs of one engine in a group, one a round.
struct Series {
  EngineChoice asked = EngineChoice::automatic;
  std::string engine = {};  ///< the one that ran
  std::vector<std::string> features = {}, reasons = {};
  std::vector<Run> runs = {};
  std::int64_t short_transfers = 0, retries = 0, pages_checked = 0;
  std::int64_t cached_bytes = 0;  ///< the most that the page cache held after a run; -1: unknown
  double huge_page_share = 1;     ///< the least
};

struct GroupResult {
  Group group = {};
  std::vector<Series> series = {};
  /// One a round: fio before and after ours, which together are the ceiling and by themselves the
  /// A/A control; and with 4 KiB pages, where the others have huge ones.
  std::vector<Run> fio_before = {}, fio_after = {}, fio_small = {};
};

struct Report {
  tool::MachineReport machine;
  std::vector<std::string> warnings;
  Plan plan;
  std::vector<PathStats> paths;  ///< of rank 0
  std::vector<GroupResult> groups;
  std::string fio_engine;  ///< empty: no fio
  bool fio_huge_pages = false;
  std::int64_t bytes_written = 0;  ///< by everything
  double seconds = 0;

  bool direct() const;
};

/// What is told of one series; a spread is unset where it cannot be told.
struct Figures {
  std::optional<tool::Spread> gbps, ceiling, share, control, small, share_of_small;
  std::optional<tool::Spread> cpu, fio_cpu;  ///< [s/GiB]
  std::string withheld;                      ///< why there is no rate of ours
  std::string ceiling_withheld;              ///< why there is one missing of fio's
};
Figures figures_of(const GroupResult& group, const Series& series);

}  // namespace spillway::io_bench
