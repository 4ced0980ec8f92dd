#include <fmt/core.h>
#include <fmt/format.h>

#include <utility>

#include "bench/fio.h"
#include "bench/io_report.h"
#include "demo_report.h"

namespace spillway::io_bench {
namespace {

using demo::bytes_text;

std::string spread_text(const std::optional<tool::Spread>& spread, int digits) {
  if (!spread) return "-";
  return fmt::format("{:.{}f} [{:.{}f}, {:.{}f}]", spread->median, digits, spread->min, digits,
                     spread->max, digits);
}

std::string latency_text(const std::vector<Run>& runs, LoadLatency Run::*side) {
  if (runs.empty() || (runs[0].*side).count == 0) return "-";
  const auto median = [&](double LoadLatency::*part) {
    std::vector<double> values;
    for (const Run& run : runs) values.push_back((run.*side).*part);
    return tool::spread_of(std::move(values)).median;
  };
  return fmt::format("{:.0f} / {:.0f} / {:.0f} / {:.0f}", median(&LoadLatency::p50),
                     median(&LoadLatency::p90), median(&LoadLatency::p99),
                     median(&LoadLatency::p999));
}

// What the disks moved beside what we say we moved, over all rounds.
std::string counters_text(const std::vector<Run>& runs) {
  std::int64_t claimed = 0, counted = 0;
  for (const Run& run : runs) {
    if (!run.moved) return "nothing counts the bytes that really move";
    claimed += run.bytes_read + run.bytes_written;
    counted += run.moved->read_bytes + run.moved->written_bytes;
  }
  return fmt::format("moved {}, the disks counted {}", bytes_text(claimed), bytes_text(counted));
}

void add_series(const Report& report, const GroupResult& group, const Series& series,
                std::string& text) {
  const Figures figures = figures_of(group, series);
  const auto row = [&](std::string_view name, const std::string& value) {
    text += fmt::format("  {:<28}{}\n", name, value);
  };
  text += fmt::format("\n{}, {} x {}, {}{}, {}\n", name_of(group.group.pattern),
                      bytes_text(group.group.block_size), group.group.queue_depth, series.engine,
                      report.plan.ranks > 1 ? fmt::format(", {} ranks", report.plan.ranks) : "",
                      report.direct() ? "direct I/O" : "BUFFERED");
  if (figures.withheld.empty())
    row("GB/s", spread_text(figures.gbps, 2));
  else
    row("GB/s", "withheld: " + figures.withheld);
  if (report.plan.fio) {
    const char* const pages = report.fio_huge_pages ? "huge pages" : "4 KiB pages";
    row(fmt::format("fio, {}", pages), spread_text(figures.ceiling, 2) + " GB/s");
    if (!figures.ceiling_withheld.empty()) row("", "withheld: " + figures.ceiling_withheld);
    row("share of it", spread_text(figures.share, 3) + "   A/A control, fio of fio " +
                           spread_text(figures.control, 3));
    if (!group.fio_small.empty())
      row("share of fio, 4 KiB pages",
          spread_text(figures.share_of_small, 3) + "   " + spread_text(figures.small, 2) + " GB/s");
  }
  row("CPU s per GiB", spread_text(figures.cpu, 4) +
                           (figures.fio_cpu ? "   fio " + spread_text(figures.fio_cpu, 4) : ""));
  for (const auto& [name, side] : {std::pair{"read us, p50/90/99/99.9", &Run::read_latency},
                                   std::pair{"write us, p50/90/99/99.9", &Run::write_latency}})
    if (const std::string line = latency_text(series.runs, side); line != "-") row(name, line);
  row("bytes", counters_text(series.runs));
  if (series.huge_page_share < 0.99)
    row("our buffers", fmt::format("{:.0f} % in huge pages{}", 100 * series.huge_page_share,
                                   report.fio_huge_pages ? ", fio's are all in them" : ""));
  if (series.short_transfers + series.retries > 0)
    row("short transfers, retries", fmt::format("{}, {}", series.short_transfers, series.retries));
  for (const std::string& reason : series.reasons) row("", reason);
}

}  // namespace

std::string to_text(const Report& report) {
  const Plan& plan = report.plan;
  std::string text = tool::to_text(report.machine);
  for (const PathStats& path : report.paths)
    text += fmt::format("{}: {}: {}\n", path.path, path.direct_io ? "direct I/O" : "BUFFERED",
                        path.direct_io_proof);
  text += fmt::format(
      "{} of {} data, {} rounds of {} s each, median [min, max]", bytes_text(plan.file_bytes()),
      plan.fill == LoadFill::random ? "random" : "one word per page", plan.rounds, plan.seconds);
  if (plan.fio) text += fmt::format("; fio: {}", report.fio_engine);
  text += "\n";
  for (const std::string& warning : report.warnings) text += "warning: " + warning + "\n";
  for (const GroupResult& group : report.groups)
    for (const Series& series : group.series) add_series(report, group, series, text);
  text += fmt::format("\n{} written in all, {:.1f} s\n", bytes_text(report.bytes_written),
                      report.seconds);
  if (!plan.fio && report.machine.fio.empty())
    text += fmt::format("{}\n", tool::Fio::how_to_install);
  return text;
}

}  // namespace spillway::io_bench
