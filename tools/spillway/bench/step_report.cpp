#include "bench/step_report.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "bench/fio.h"
#include "demo_report.h"

namespace spillway::steps {
namespace {

using nlohmann::ordered_json;

// The values of a turn that both forms of the report tell, under their names.
struct Figure {
  const char* name;
  std::optional<double> (*value)(const Turn&);
};
constexpr Figure figures[] = {
    {"step_seconds", [](const Turn& t) -> std::optional<double> { return t.step.seconds; }},
    {"bound_seconds", [](const Turn& t) { return t.bound_seconds(); }},
    {"unpipelined_seconds", [](const Turn& t) { return t.unpipelined_seconds(); }},
    {"io_seconds", [](const Turn& t) { return t.io_seconds(); }},
    {"in_memory_seconds",
     [](const Turn& t) -> std::optional<double> { return t.in_memory_seconds; }},
    {"times_bound",
     [](const Turn& t) -> std::optional<double> {
       if (!t.doubt().empty() || !t.bound_seconds() || *t.bound_seconds() <= 0) return std::nullopt;
       return t.step.seconds / *t.bound_seconds();
     }},
    {"times_first",
     [](const Turn& t) -> std::optional<double> { return t.step.seconds / t.first_seconds; }},
    {"gbps",
     [](const Turn& t) -> std::optional<double> {
       if (!t.doubt().empty()) return std::nullopt;
       return 1e-9 * t.step.bytes() / t.step.seconds;
     }},
    {"ceiling_gbps",
     [](const Turn& t) -> std::optional<double> {
       if (!t.ceiling) return std::nullopt;
       return 1e-9 * *t.ceiling;
     }},
    {"control", [](const Turn& t) { return t.control; }},
    {"bytes_read", [](const Turn& t) -> std::optional<double> { return t.step.bytes_read; }},
    {"bytes_written", [](const Turn& t) -> std::optional<double> { return t.step.bytes_written; }},
    {"stall_read_seconds",
     [](const Turn& t) -> std::optional<double> { return t.step.stall_read_seconds; }},
    {"stall_write_seconds",
     [](const Turn& t) -> std::optional<double> { return t.step.stall_write_seconds; }},
    {"stall_buffer_seconds",
     [](const Turn& t) -> std::optional<double> { return t.step.stall_buffer_seconds; }},
    {"compute_seconds",
     [](const Turn& t) -> std::optional<double> { return t.step.compute_seconds; }},
    {"checksum_seconds",
     [](const Turn& t) -> std::optional<double> { return t.step.checksum_seconds; }},
};

// Of all turns together.
ordered_json device_json(const Result& result) {
  tool::DeviceCounters sum;
  for (const Turn& turn : result.turns) {
    if (!turn.moved) return nullptr;
    sum.read_bytes += turn.moved->read_bytes;
    sum.written_bytes += turn.moved->written_bytes;
  }
  return {{"read_bytes", sum.read_bytes}, {"written_bytes", sum.written_bytes}};
}

std::optional<Spread> figure(const Result& result, std::string_view name) {
  for (const Figure& one : figures)
    if (name == one.name) return spread(result, one.value);
  return std::nullopt;
}

ordered_json result_json(const Result& result) {
  const OffloadOptimizerConfig& offload = result.variant.config.offload_optimizer;
  const StepHouse& house = result.house;
  ordered_json out{
      {"flags", result.variant.flags},  {"engine", house.engine},
      {"tile_bytes", house.tile_bytes}, {"buffers", house.buffers},
      {"ratio", offload.ratio},         {"checksums", result.variant.config.io.checksums},
      {"direct_io", house.direct_io}};
  for (const Figure& one : figures) out[one.name] = tool::to_json(spread(result, one.value));
  const std::string withheld = result.withheld();
  out["withheld"] = withheld.empty() ? ordered_json() : ordered_json(withheld);
  const std::string ceiling_withheld = result.ceiling_withheld();
  out["ceiling_withheld"] =
      ceiling_withheld.empty() ? ordered_json() : ordered_json(ceiling_withheld);
  out["device"] = device_json(result);
  out["tiles"] = house.tiles;
  out["resident_tiles"] = house.resident_tiles;
  out["region_bytes"] = house.region_bytes;
  out["resident_share_bytes"] = house.resident_share_bytes;
  out["pinned_bytes"] = house.pinned_bytes;
  out["metadata_bytes"] = house.metadata_bytes;
  out["huge_page_share"] = house.huge_page_share;
  return out;
}

std::string seconds_text(const std::optional<Spread>& spread) {
  if (!spread) return "-";
  return fmt::format("{:.3f} [{:.3f}, {:.3f}]", spread->median, spread->min, spread->max);
}

std::string times_text(const std::optional<Spread>& spread) {
  if (!spread) return "-";
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", spread->median, spread->min, spread->max);
}

double median_of(const Result& result, std::string_view name) {
  const auto found = figure(result, name);
  return found ? found->median : 0;
}

std::string row(const Result& result) {
  const double seconds = median_of(result, "step_seconds");
  const auto percent = [&](std::string_view name) {
    return 100 * median_of(result, name) / seconds;
  };
  std::string text = fmt::format("{}\n", result.variant.text());
  text += fmt::format("  {:<16}{} s; {} x bound, {} x first\n", "step",
                      seconds_text(figure(result, "step_seconds")),
                      times_text(figure(result, "times_bound")),
                      times_text(figure(result, "times_first")));
  text += fmt::format("  {:<16}{} s; in turn {} s\n", "bound",
                      seconds_text(figure(result, "bound_seconds")),
                      seconds_text(figure(result, "unpipelined_seconds")));
  if (figure(result, "ceiling_gbps"))
    text += fmt::format("  {:<16}{} GB/s mixed; over itself {}\n", "ceiling",
                        times_text(figure(result, "ceiling_gbps")),
                        times_text(figure(result, "control")));
  text += fmt::format("  {:<16}{:.2f} GB, {} GB/s\n", "moves",
                      1e-9 * (median_of(result, "bytes_read") + median_of(result, "bytes_written")),
                      times_text(figure(result, "gbps")));
  if (const std::string withheld = result.withheld(); !withheld.empty())
    text += fmt::format("  {:<16}{}\n", "withheld", withheld);
  if (const std::string withheld = result.ceiling_withheld(); !withheld.empty())
    text += fmt::format("  {:<16}ceiling: {}\n", "withheld", withheld);
  text += fmt::format(
      "  {:<16}waiting for reads {:.0f} %, writes {:.0f} %, buffers {:.0f} %; computing {:.0f} %, "
      "checksums {:.0f} %\n",
      "of the step", percent("stall_read_seconds"), percent("stall_write_seconds"),
      percent("stall_buffer_seconds"), percent("compute_seconds"), percent("checksum_seconds"));
  text +=
      fmt::format("  {:<16}pool {} ({:.0f} % huge pages), resident {}; {}, {}\n", "memory",
                  demo::bytes_text(result.house.region_bytes), 100 * result.house.huge_page_share,
                  demo::bytes_text(result.house.resident_share_bytes), result.house.engine,
                  result.house.direct_io ? "direct" : "BUFFERED");
  return text;
}

}  // namespace

std::optional<Spread> spread_of(const std::vector<std::optional<double>>& values) {
  std::vector<double> all;
  for (const std::optional<double>& value : values) {
    if (!value) return std::nullopt;
    all.push_back(*value);
  }
  if (all.empty()) return std::nullopt;
  return tool::spread_of(std::move(all));
}

std::string to_json(const Report& report) {
  ordered_json out;
  out["machine"] = tool::to_json(report.machine);
  out["model"] = report.model;
  out["layers"] = report.layers;
  out["model_layers"] = report.whole_layers;
  out["params"] = report.params;
  out["state_bytes"] = 12 * report.params;
  out["compute"] = report.compute;
  out["repeat"] = report.repeat;
  out["kernel"] = report.kernel;
  out["threads"] = report.threads;
  out["ranks"] = report.ranks;
  out["rounds"] = report.rounds;
  out["seconds_of_turn"] = report.seconds;
  out["ceiling"] = report.ceiling;
  out["in_memory_share"] = report.in_memory_share;
  out["warnings"] = report.warnings;
  out["paths"] = ordered_json::array();
  for (const PathStats& path : report.paths)
    out["paths"].push_back({{"path", path.path},
                            {"file_system", path.file_system},
                            {"direct_io", path.direct_io},
                            {"direct_io_proof", path.direct_io_proof}});
  out["results"] = ordered_json::array();
  for (const Result& result : report.results) out["results"].push_back(result_json(result));
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

std::string to_table(const Report& report) {
  std::string text = tool::to_text(report.machine);
  for (const PathStats& path : report.paths)
    text += fmt::format("{}: {}: {}\n", path.path, path.direct_io ? "direct I/O" : "BUFFERED",
                        path.direct_io_proof);
  for (const std::string& warning : report.warnings) text += fmt::format("warning: {}\n", warning);
  text += fmt::format(
      "{}{}, {} parameters, {} of state; {} x {} ({}) on {} threads{}\n"
      "medians [min, max] of {} rounds; ceiling: {}\n",
      report.model,
      report.layers < report.whole_layers
          ? fmt::format(" (the first {} of {} layers)", report.layers, report.whole_layers)
          : "",
      demo::grouped(report.params), demo::bytes_text(12 * report.params), report.repeat,
      report.compute, report.kernel, report.threads,
      report.ranks > 1 ? fmt::format(", {} ranks", report.ranks) : "", report.rounds,
      report.ceiling);
  if (report.machine.fio.empty()) text += fmt::format("{}\n", tool::Fio::how_to_install);
  for (const Result& result : report.results) text += "\n" + row(result);
  return text;
}

}  // namespace spillway::steps
