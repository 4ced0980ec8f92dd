#include "bench/io_bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "bench/child_process.h"
#include "demo_report.h"

namespace spillway::io_bench {
namespace {

constexpr std::int64_t MiB = 1024 * 1024;
// Of all our runs together; a span takes some 40 bytes here and 150 in the file.
constexpr std::int64_t spans_in_all = 200'000;
// What fio may take of the memory that is left for its huge pages.
constexpr std::int64_t memory_for_fio = 4;
// For the progress bar only. [ms], [bytes per ms]
constexpr std::int64_t fio_start_ms = 350, our_start_ms = 60, fill_rate = 1'000'000;

std::int64_t ms_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begin)
      .count();
}

void take_worse(LoadLatency& worst, const LoadLatency& other) {
  worst.count += other.count;
  for (const auto part : {&LoadLatency::p50, &LoadLatency::p90, &LoadLatency::p99,
                          &LoadLatency::p999, &LoadLatency::max})
    worst.*part = std::max(worst.*part, other.*part);
}

std::string title(const Group& group) {
  return fmt::format("{}, {} x {}", name_of(group.pattern), demo::bytes_text(group.block_size),
                     group.queue_depth);
}

}  // namespace

IoBench::IoBench(Plan plan, tool::MachineReport machine, tool::Trace* trace)
    : trace_(trace), disks_(machine.places) {
  report_.plan = std::move(plan);
  report_.machine = std::move(machine);
}

Run IoBench::measured(Run run, const std::optional<tool::DeviceCounters>& before) {
  run.moved = disks_.moved_since(before);
  report_.bytes_written += run.bytes_written;
  return run;
}

std::int64_t IoBench::planned_ms() const {
  const Plan& plan = report_.plan;
  const auto run_ms = static_cast<std::int64_t>(1000 * plan.seconds);
  const std::int64_t ours = std::ssize(plan.engines) * (run_ms + our_start_ms);
  const std::int64_t fio = plan.fio ? (fio_ && report_.fio_huge_pages ? 3 : 2) : 0;
  return plan.file_bytes() / fill_rate +
         std::ssize(plan.groups) * plan.rounds * (ours + fio * (run_ms + fio_start_ms));
}

void IoBench::run_ended(Clock::time_point begin) {
  done_ms_ += ms_since(begin);
  progress_.set(done_ms_);
}

void IoBench::prepare_fio() {
  const Plan& plan = report_.plan;
  if (!plan.fio) return;
  fio_.emplace(std::string(), tool::child_launcher);
  // Ours come out of them too, twice as many where they read and write: another run's may be near.
  std::int64_t buffers = 0;
  for (const Group& group : plan.groups)
    buffers = std::max(buffers, group.block_size * group.queue_depth *
                                    (group.pattern == LoadPattern::mixed ? 2 : 1));
  // Each of its jobs rounds up.
  const std::int64_t need = plan.ranks * (buffers + 4 * MiB);
  if (need > report_.machine.available_bytes / memory_for_fio) {
    report_.warnings.push_back(
        fmt::format("fio gets 4 KiB pages, and its rate is no ceiling: huge ones for {} in flight "
                    "would take too much of the memory",
                    demo::bytes_text(plan.ranks * buffers)));
    return;
  }
  huge_pages_.emplace(need);
  report_.fio_huge_pages = huge_pages_->enough();
  if (!report_.fio_huge_pages)
    report_.warnings.push_back("fio gets 4 KiB pages, and its rate is no ceiling: " +
                               huge_pages_->why_not());
}

void IoBench::start_ranks() {
  const Plan& plan = report_.plan;
  for (int rank = 0; rank < plan.ranks; ++rank)
    ranks_.push_back(std::make_unique<tool::LoadWorker>(
        rank, PathLoadOptions{.paths = plan.paths,
                              .file_bytes = plan.file_bytes_per_rank,
                              .fill = plan.fill,
                              .seed = static_cast<std::uint64_t>(rank) + 1}));
  std::vector<std::int64_t> filled(ranks_.size());
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank)
    ranks_[rank]->wait_ready([&](std::int64_t bytes) {
      filled[rank] = bytes;
      std::int64_t sum = 0;
      for (const std::int64_t of_rank : filled) sum += of_rank;
      progress_.set(sum / fill_rate);
    });
  report_.bytes_written += plan.file_bytes();
  report_.paths = ranks_[0]->paths();
  // In words that mean the same elsewhere.
  for (std::size_t i = 0; i < report_.paths.size(); ++i)
    report_.paths[i].path = report_.machine.places[i].path;
  done_ms_ = plan.file_bytes() / fill_rate;
}

Report IoBench::run() {
  const auto begin = Clock::now();
  const Plan& plan = report_.plan;
  report_.warnings = tool::warnings_of(report_.machine, plan.file_bytes());
  prepare_fio();
  progress_.begin("filling the files", planned_ms());
  start_ranks();
  progress_.clear();
  tool::say(report_.warnings);
  std::int64_t our_runs = 0;
  for (const Group& group : plan.groups) {
    our_runs += plan.rounds * std::ssize(plan.engines);
    if (group.writes()) writing_runs_left_ += plan.rounds * plan.runs_per_round();
  }
  if (trace_ != nullptr)
    spans_per_run_ = std::max<std::int64_t>(100, spans_in_all / our_runs / plan.ranks);
  for (const Group& group : plan.groups) run_group(group);
  warn_of_short_runs();
  report_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (fio_) report_.fio_engine = fio_->engine();
  progress_.clear();
  return report_;
}

// A bound that cut runs short has made their rates less certain: that must not go unsaid.
void IoBench::warn_of_short_runs() {
  const Plan& plan = report_.plan;
  double shortest = plan.seconds;
  std::int64_t cut = 0;
  for (const GroupResult& group : report_.groups)
    for (const Series& series : group.series)
      for (const Run& run : series.runs)
        if (group.group.writes() && run.seconds < plan.seconds / 2) {
          ++cut;
          shortest = std::min(shortest, run.seconds);
        }
  if (cut == 0) return;
  progress_.clear();
  tool::say({report_.warnings.emplace_back(fmt::format(
      "{} of our runs that write ended after less than half of --seconds, the shortest after "
      "{:.3f} "
      "s, for --max-written ({}) is shared by all runs: raise it, or compare less at once",
      cut, shortest, demo::bytes_text(plan.max_written)))});
}

void IoBench::run_group(const Group& group) {
  progress_.rename(title(group));
  GroupResult result{.group = group};
  for (const EngineChoice engine : report_.plan.engines) result.series.push_back({.asked = engine});
  fio_start_cpu_ = 0;
  for (int round = 0; round < report_.plan.rounds; ++round) run_round(group, result, round);
  report_.groups.push_back(std::move(result));
}

void IoBench::run_round(const Group& group, GroupResult& result, int round) {
  const Plan& plan = report_.plan;
  std::int64_t most = 0;
  if (group.writes()) {
    most = share_of_budget(plan.max_written - report_.bytes_written, writing_runs_left_, plan.ranks,
                           group.block_size);
    writing_runs_left_ -= plan.runs_per_round();
  }
  if (fio_) result.fio_before.push_back(run_fio(group, report_.fio_huge_pages, most));
  for (Series& series : result.series) run_ours(group, series, most, round);
  if (!fio_) return;
  result.fio_after.push_back(run_fio(group, report_.fio_huge_pages, most));
  if (report_.fio_huge_pages) result.fio_small.push_back(run_fio(group, false, most));
}

Run IoBench::run_fio(const Group& group, bool huge_pages, std::int64_t max_bytes) {
  const Plan& plan = report_.plan;
  const auto begin = Clock::now();
  tool::FioRun job{.pattern = group.pattern,
                   .file_bytes = ranks_[0]->bytes_per_file(),
                   .block_bytes = group.block_size,
                   .depth = group.queue_depth,
                   .direct = report_.direct(),
                   .huge_pages = huge_pages,
                   .fill = plan.fill,
                   .seconds = plan.seconds,
                   .max_bytes = max_bytes};
  for (const auto& rank : ranks_) job.files.push_back(rank->file_names());
  if (fio_start_cpu_ == 0) {
    // It reads, so that this costs the budget nothing.
    tool::FioRun start = job;
    start.pattern = LoadPattern::read;
    fio_start_cpu_ = fio_->start_cpu_seconds(start, 2);
  }
  const auto before = disks_.counters();
  const tool::FioResult fio = fio_->run(job, [&] { progress_.set(done_ms_ + ms_since(begin)); });
  const Run run = measured({.bytes_read = fio.read_bytes,
                            .bytes_written = fio.written_bytes,
                            .seconds = fio.seconds,
                            .cpu_seconds = std::max(0.0, fio.cpu_seconds - fio_start_cpu_),
                            .read_latency = fio.read_latency,
                            .write_latency = fio.write_latency},
                           before);
  run_ended(begin);
  return run;
}

void IoBench::run_ours(const Group& group, Series& series, std::int64_t max_bytes, int round) {
  const auto begin = Clock::now();
  LoadShape shape{.pattern = group.pattern,
                  .engine = series.asked,
                  .block_size = group.block_size,
                  .queue_depth = group.queue_depth,
                  .seconds = report_.plan.seconds};
  // fio's bound is on both directions together.
  if (group.pattern == LoadPattern::write) shape.max_written = max_bytes;
  if (group.pattern == LoadPattern::mixed)
    shape.max_read = shape.max_written =
        std::max(group.block_size, max_bytes / 2 / group.block_size * group.block_size);
  for (const auto& rank : ranks_) rank->prepare(shape, spans_per_run_);
  for (const auto& rank : ranks_) rank->wait_prepared();
  const auto before = disks_.counters();
  const std::int64_t start_ns = Timeline::now_ns() + 2'000'000 + 200'000 * std::ssize(ranks_);
  for (const auto& rank : ranks_) rank->start(start_ns);

  Run run;
  std::int64_t begin_ns = INT64_MAX, end_ns = 0;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    const LoadResult result = ranks_[i]->result([&] { progress_.set(done_ms_ + ms_since(begin)); });
    run.bytes_read += result.bytes_read;
    run.bytes_written += result.bytes_written;
    run.cpu_seconds += result.cpu_seconds;
    begin_ns = std::min(begin_ns, result.begin_ns);
    end_ns = std::max(end_ns, result.end_ns);
    take_worse(run.read_latency, result.read_latency);
    take_worse(run.write_latency, result.write_latency);
    series.engine = result.engine;
    series.features = result.features;
    series.reasons = result.reasons;
    series.short_transfers += result.short_transfers;
    series.retries += result.retries;
    series.pages_checked += result.pages_checked;
    series.cached_bytes = result.cached_bytes < 0 || series.cached_bytes < 0
                              ? -1
                              : std::max(series.cached_bytes, result.cached_bytes);
    series.huge_page_share = std::min(series.huge_page_share, result.huge_page_share);
    if (trace_ != nullptr) {
      const std::string name = fmt::format("rank {}", i);
      trace_->mark(name, result.begin_ns,
                   fmt::format("{}, {}, round {}", title(group), result.engine, round + 1));
      trace_->add(name, ranks_[i]->take_spans(), ranks_[i]->take_dropped());
    }
  }
  run.seconds = 1e-9 * static_cast<double>(end_ns - begin_ns);
  series.runs.push_back(measured(run, before));
  run_ended(begin);
}

}  // namespace spillway::io_bench
