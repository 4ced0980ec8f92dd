#include <nlohmann/json.hpp>

#include <utility>

#include "bench/io_report.h"

namespace spillway::io_bench {
namespace {

using nlohmann::ordered_json;

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

ordered_json latency_json(const std::vector<Run>& runs, LoadLatency Run::*side) {
  if (runs.empty() || (runs[0].*side).count == 0) return nullptr;
  ordered_json out;
  const std::pair<const char*, double LoadLatency::*> parts[] = {{"p50_us", &LoadLatency::p50},
                                                                 {"p90_us", &LoadLatency::p90},
                                                                 {"p99_us", &LoadLatency::p99},
                                                                 {"p999_us", &LoadLatency::p999},
                                                                 {"max_us", &LoadLatency::max}};
  for (const auto& [name, part] : parts) {
    std::vector<double> values;
    for (const Run& run : runs) values.push_back((run.*side).*part);
    out[name] = tool::to_json(tool::spread_of(std::move(values)));
  }
  return out;
}

// Of all rounds together.
ordered_json device_json(const std::vector<Run>& runs) {
  tool::DeviceCounters sum;
  for (const Run& run : runs) {
    if (!run.moved) return nullptr;
    sum.read_bytes += run.moved->read_bytes;
    sum.written_bytes += run.moved->written_bytes;
  }
  return {{"read_bytes", sum.read_bytes}, {"written_bytes", sum.written_bytes}};
}

ordered_json series_json(const Report& report, const GroupResult& group, const Series& series) {
  const Figures figures = figures_of(group, series);
  std::int64_t read = 0, written = 0;
  double seconds = 0;
  for (const Run& run : series.runs) {
    read += run.bytes_read;
    written += run.bytes_written;
    seconds += run.seconds;
  }
  const bool huge = report.fio_huge_pages;
  ordered_json out;
  out["pattern"] = name_of(group.group.pattern);
  out["engine"] = series.engine;
  out["block_size"] = group.group.block_size;
  out["queue_depth"] = group.group.queue_depth;
  out["ranks"] = report.plan.ranks;
  out["rounds"] = series.runs.size();
  out["gbps"] = tool::to_json(figures.gbps);
  out["withheld"] = text_or_null(figures.withheld);
  out["ceiling_withheld"] = text_or_null(figures.ceiling_withheld);
  out["ceiling_gbps"] = tool::to_json(figures.ceiling);
  out["ceiling"] = report.plan.fio ? ordered_json(huge ? "fio, huge pages" : "fio, 4 KiB pages")
                                   : ordered_json();
  out["share_of_ceiling"] = tool::to_json(figures.share);
  out["control"] = tool::to_json(figures.control);
  out["fio_small_pages_gbps"] = tool::to_json(figures.small);
  out["share_of_fio_small_pages"] = tool::to_json(figures.share_of_small);
  out["direct_io"] = report.direct();
  out["cached_bytes"] =
      series.cached_bytes < 0 ? ordered_json() : ordered_json(series.cached_bytes);
  out["read_latency"] = latency_json(series.runs, &Run::read_latency);
  out["write_latency"] = latency_json(series.runs, &Run::write_latency);
  out["cpu_seconds_per_gib"] = tool::to_json(figures.cpu);
  out["fio_cpu_seconds_per_gib"] = tool::to_json(figures.fio_cpu);
  out["bytes_read"] = read;
  out["bytes_written"] = written;
  out["seconds"] = seconds;
  out["device"] = device_json(series.runs);
  out["huge_page_share"] = series.huge_page_share;
  out["pages_checked"] = series.pages_checked;
  out["short_transfers"] = series.short_transfers;
  out["retries"] = series.retries;
  out["engine_features"] = series.features;
  out["engine_reasons"] = series.reasons;
  return out;
}

ordered_json paths_json(const Report& report) {
  ordered_json paths = ordered_json::array();
  for (const PathStats& path : report.paths)
    paths.push_back({{"path", path.path},
                     {"file_system", path.file_system},
                     {"direct_io", path.direct_io},
                     {"direct_io_proof", path.direct_io_proof},
                     {"space_guaranteed", path.space_guaranteed}});
  return paths;
}

}  // namespace

std::string to_json(const Report& report) {
  const Plan& plan = report.plan;
  ordered_json out;
  out["machine"] = tool::to_json(report.machine);
  out["warnings"] = report.warnings;
  out["settings"] = {{"file_bytes", plan.file_bytes()},
                     {"seconds", plan.seconds},
                     {"max_written", plan.max_written},
                     {"ranks", plan.ranks},
                     {"rounds", plan.rounds},
                     {"data", plan.fill == LoadFill::random ? "random" : "words"},
                     {"fio_engine", text_or_null(report.fio_engine)},
                     {"fio_huge_pages", report.fio_huge_pages}};
  out["paths"] = paths_json(report);
  out["results"] = ordered_json::array();
  for (const GroupResult& group : report.groups)
    for (const Series& series : group.series)
      out["results"].push_back(series_json(report, group, series));
  out["bytes_written"] = report.bytes_written;
  out["seconds"] = report.seconds;
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace spillway::io_bench
