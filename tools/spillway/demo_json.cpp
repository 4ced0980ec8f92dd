#include <nlohmann/json.hpp>

#include <numeric>

#include "demo_report.h"

namespace spillway::demo {
namespace {

using nlohmann::ordered_json;

ordered_json path_json(const PathStats& path) {
  return {{"path", path.path},
          {"file_system", path.file_system},
          {"direct_io", path.direct_io},
          {"direct_io_proof", path.direct_io_proof},
          {"space_guaranteed", path.space_guaranteed},
          {"allocated_bytes", path.allocated_bytes},
          {"bytes_read", path.bytes_read},
          {"bytes_written", path.bytes_written}};
}

ordered_json latency_json(const Latency& latency) {
  return {{"median_us", latency.median_us}, {"p99_us", latency.p99_us}, {"max_us", latency.max_us}};
}

}  // namespace

std::string to_json(const Report& report) {
  const MemoryStats& memory = report.optimizer.memory;
  const double seconds =
      std::accumulate(report.step_seconds.begin(), report.step_seconds.end(), 0.0);
  const double waited =
      report.stall_read_seconds + report.stall_write_seconds + report.stall_buffer_seconds;

  ordered_json out;
  // null where nothing was compared: neither answer would be true.
  out["bit_exact"] = report.compared() ? ordered_json(report.bit_exact()) : ordered_json();
  out["first_difference"] = report.difference ? ordered_json{{"tensor", report.difference->tensor},
                                                             {"state", report.difference->state}}
                                              : ordered_json();
  out["model"] = report.model;
  out["layers"] = report.layers;
  out["model_layers"] = report.whole_layers;
  out["tensors"] = report.tensors;
  out["params"] = report.params;
  out["state_bytes"] = 12 * report.params;
  out["seed"] = report.seed;
  out["threads"] = report.threads;
  out["kernel"] = report.kernel;

  out["steps"] = report.steps;
  out["setup_seconds"] = report.setup_seconds;
  out["step_seconds"] = report.step_seconds;
  out["in_memory_step_seconds"] = report.in_memory_step_seconds;
  out["in_memory_huge_page_share"] = report.in_memory_huge_page_share;
  if (!report.compared()) out["in_memory_left_out"] = report.in_memory_left_out;

  out["bytes_read_per_param"] = report.bytes_read_per_param;
  out["bytes_written_per_param"] = report.bytes_written_per_param;
  out["bytes_read"] = report.bytes_read;
  out["bytes_written"] = report.bytes_written;
  out["read_gb_per_second"] = static_cast<double>(report.bytes_read) / seconds / 1e9;
  out["write_gb_per_second"] = static_cast<double>(report.bytes_written) / seconds / 1e9;
  out["waiting_share"] = waited / seconds;
  out["stall_read_seconds"] = report.stall_read_seconds;
  out["stall_write_seconds"] = report.stall_write_seconds;
  out["stall_buffer_seconds"] = report.stall_buffer_seconds;
  out["compute_seconds"] = report.compute_seconds;
  out["checksum_seconds"] = report.checksum_seconds;

  out["tiles"] = report.optimizer.tiles;
  out["resident_tiles"] = report.optimizer.resident_tiles;
  out["tile_bytes"] = report.optimizer.tile_bytes;
  out["buffers"] = report.optimizer.buffers;
  out["pinned_bytes_requested"] = memory.pinned_bytes_requested;
  out["pinned_bytes"] = memory.pinned_bytes;
  out["region_bytes"] = memory.region_bytes;
  out["resident_share_bytes"] = memory.resident_share_bytes;
  out["locked_bytes"] = memory.locked_bytes;
  out["registered_bytes"] = memory.registered_bytes;
  out["metadata_bytes"] = memory.metadata_bytes;
  out["huge_page_share"] = memory.huge_page_share;
  out["peak_rss_bytes"] = report.peak_rss_bytes;
  out["rss_over_pool_bytes"] = report.rss_over_pool_bytes();

  out["engine"] = report.context.engine;
  out["engine_reasons"] = report.context.engine_reasons;
  out["engine_features"] = report.context.engine_features;
  out["direct_io"] = report.direct_io();
  out["read_latency"] = latency_json(report.context.read_latency);
  out["write_latency"] = latency_json(report.context.write_latency);
  out["paths"] = ordered_json::array();
  for (const PathStats& path : report.context.paths) out["paths"].push_back(path_json(path));
  out["config"] = ordered_json::parse(spillway::to_json(report.config));
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace spillway::demo
