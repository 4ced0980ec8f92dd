#include <nlohmann/json.hpp>

#include "bench/params_report.h"

namespace spillway::params {
namespace {

using nlohmann::ordered_json;

ordered_json result_json(const Result& result) {
  const PassFigures& figures = result.figures;
  return {{"cap", result.cap.text},
          {"cap_elements", result.cap.elements},
          {"pass", result.pass},
          {"pass_seconds", figures.seconds},
          {"hit_rate", figures.hit_rate()},
          {"lru_hit_rate", result.lru_hit_rate},
          {"belady_hit_rate", result.belady_hit_rate},
          {"stall_seconds", figures.stall_seconds},
          {"fetch_seconds", figures.fetch_seconds},
          {"think_seconds", figures.think_seconds},
          {"update_seconds", figures.update_seconds},
          {"checksum_seconds", figures.checksum_seconds},
          {"bytes_fetched", figures.bytes_fetched},
          {"bytes_read", figures.bytes_read},
          {"bytes_read_for_fetches", figures.bytes_read_for_fetches},
          {"bytes_written", figures.bytes_written},
          {"prefetches", figures.prefetches},
          {"evictions", figures.evictions},
          {"peak_cached_elements", result.peak_cached_elements},
          {"peak_cached_bytes", result.peak_cached_bytes},
          {"peak_pool_bytes", result.peak_pool_bytes}};
}

}  // namespace

std::string to_json(const Report& report) {
  ordered_json out;
  out["machine"] = tool::to_json(report.machine);
  out["machine"]["engine"] = report.context.engine;
  out["machine"]["direct_io"] = !report.context.paths.empty() && report.context.paths[0].direct_io;
  out["warnings"] = report.warnings;
  out["model"] = report.model;
  out["layers"] = report.layers;
  out["model_layers"] = report.whole_layers;
  out["tensors"] = report.tensors;
  out["units"] = report.units;
  out["params"] = report.params;
  out["param_bytes"] = report.bytes;
  out["trace"] = name_of(report.trace);
  out["passes"] = report.passes;
  out["think_ms"] = report.think_ms;
  out["huge_page_share"] = report.memory.huge_page_share;
  out["results"] = ordered_json::array();
  for (const Result& result : report.results) out["results"].push_back(result_json(result));
  out["config"] = ordered_json::parse(spillway::to_json(report.config));
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace spillway::params
