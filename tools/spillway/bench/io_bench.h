#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/disks.h"
#include "bench/fio.h"
#include "bench/huge_pages.h"
#include "bench/io_result.h"
#include "bench/load_worker.h"
#include "bench/trace.h"
#include "progress.h"

namespace spillway::io_bench {

/// Measures what a plan asks for: ranks as processes, and round by round fio, ours, fio again and
/// fio with small pages, on the same files.
class IoBench {
 public:
  /// `trace`: receives our transfers; null: none.
  IoBench(Plan plan, tool::MachineReport machine, tool::Trace* trace);

  /// Throws Error, Stopped. Nothing is left either way.
  Report run();

 private:
  using Clock = std::chrono::steady_clock;

  void prepare_fio();
  void start_ranks();
  void run_group(const Group& group);
  void run_round(const Group& group, GroupResult& result, int round);
  Run run_fio(const Group& group, bool huge_pages, std::int64_t max_bytes);
  void run_ours(const Group& group, Series& series, std::int64_t max_bytes, int round);
  Run measured(Run run, const std::optional<tool::DeviceCounters>& before);
  void warn_of_short_runs();
  std::int64_t planned_ms() const;
  void run_ended(Clock::time_point begin);

  Report report_;
  tool::Trace* trace_;
  tool::Disks disks_;
  tool::Progress progress_;
  std::optional<tool::HugePages> huge_pages_;  // before fio, which needs them
  std::optional<tool::Fio> fio_;
  double fio_start_cpu_ = 0;
  std::vector<std::unique_ptr<tool::LoadWorker>> ranks_;
  std::int64_t writing_runs_left_ = 0;
  std::int64_t spans_per_run_ = 0;
  std::int64_t done_ms_ = 0;
};

}  // namespace spillway::io_bench
