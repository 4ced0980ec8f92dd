#include "bench/load_message.h"

#include <filesystem>
#include <string>

namespace spillway::tool {
namespace {

using nlohmann::json;

json latency_message(const LoadLatency& latency) {
  return {latency.count, latency.p50, latency.p90, latency.p99, latency.p999, latency.max};
}

LoadLatency latency_in(const json& message) {
  return {.count = message.at(0),
          .p50 = message.at(1),
          .p90 = message.at(2),
          .p99 = message.at(3),
          .p999 = message.at(4),
          .max = message.at(5)};
}

}  // namespace

json options_message(const PathLoadOptions& options) {
  json paths = json::array();
  for (const std::filesystem::path& path : options.paths) paths.push_back(path.string());
  return {{"paths", paths},
          {"file_bytes", options.file_bytes},
          {"fill", static_cast<int>(options.fill)},
          {"seed", options.seed},
          {"pin_memory", options.pin_memory},
          {"direct", static_cast<int>(options.io.direct)},
          {"huge_pages", static_cast<int>(options.io.huge_pages)},
          {"threads", options.io.threads}};
}

PathLoadOptions options_in(const json& message) {
  PathLoadOptions options;
  for (const json& path : message.at("paths")) options.paths.emplace_back(path.get<std::string>());
  options.file_bytes = message.at("file_bytes");
  options.fill = static_cast<LoadFill>(message.at("fill").get<int>());
  options.seed = message.at("seed");
  options.pin_memory = message.at("pin_memory");
  options.io.direct = static_cast<Switch>(message.at("direct").get<int>());
  options.io.huge_pages = static_cast<Switch>(message.at("huge_pages").get<int>());
  options.io.threads = message.at("threads");
  return options;
}

json shape_message(const LoadShape& shape, std::int64_t spans) {
  return {{"pattern", static_cast<int>(shape.pattern)},
          {"engine", static_cast<int>(shape.engine)},
          {"block_size", shape.block_size},
          {"queue_depth", shape.queue_depth},
          {"seconds", shape.seconds},
          {"max_read", shape.max_read},
          {"max_written", shape.max_written},
          {"spans", spans}};
}

LoadShape shape_in(const json& message) {
  return {.pattern = static_cast<LoadPattern>(message.at("pattern").get<int>()),
          .engine = static_cast<EngineChoice>(message.at("engine").get<int>()),
          .block_size = message.at("block_size"),
          .queue_depth = message.at("queue_depth"),
          .seconds = message.at("seconds"),
          .max_read = message.at("max_read"),
          .max_written = message.at("max_written")};
}

json result_message(const LoadResult& result) {
  return {{"engine", result.engine},
          {"features", result.features},
          {"reasons", result.reasons},
          {"begin_ns", result.begin_ns},
          {"end_ns", result.end_ns},
          {"bytes_read", result.bytes_read},
          {"bytes_written", result.bytes_written},
          {"short_transfers", result.short_transfers},
          {"retries", result.retries},
          {"read_latency", latency_message(result.read_latency)},
          {"write_latency", latency_message(result.write_latency)},
          {"cpu_seconds", result.cpu_seconds},
          {"huge_page_share", result.huge_page_share},
          {"cached_bytes", result.cached_bytes},
          {"pages_checked", result.pages_checked}};
}

LoadResult result_in(const json& message) {
  LoadResult result;
  message.at("engine").get_to(result.engine);
  message.at("features").get_to(result.features);
  message.at("reasons").get_to(result.reasons);
  message.at("begin_ns").get_to(result.begin_ns);
  message.at("end_ns").get_to(result.end_ns);
  message.at("bytes_read").get_to(result.bytes_read);
  message.at("bytes_written").get_to(result.bytes_written);
  message.at("short_transfers").get_to(result.short_transfers);
  message.at("retries").get_to(result.retries);
  result.read_latency = latency_in(message.at("read_latency"));
  result.write_latency = latency_in(message.at("write_latency"));
  message.at("cpu_seconds").get_to(result.cpu_seconds);
  message.at("huge_page_share").get_to(result.huge_page_share);
  message.at("cached_bytes").get_to(result.cached_bytes);
  message.at("pages_checked").get_to(result.pages_checked);
  return result;
}

json path_message(const PathStats& path) {
  return {{"path", path.path},
          {"file_system", path.file_system},
          {"direct_io", path.direct_io},
          {"direct_io_proof", path.direct_io_proof},
          {"space_guaranteed", path.space_guaranteed},
          {"data_file", path.data_file},
          {"allocated_bytes", path.allocated_bytes}};
}

PathStats path_in(const json& message) {
  PathStats path;
  message.at("path").get_to(path.path);
  message.at("file_system").get_to(path.file_system);
  message.at("direct_io").get_to(path.direct_io);
  message.at("direct_io_proof").get_to(path.direct_io_proof);
  message.at("space_guaranteed").get_to(path.space_guaranteed);
  message.at("data_file").get_to(path.data_file);
  message.at("allocated_bytes").get_to(path.allocated_bytes);
  return path;
}

json span_message(const Span& span) {
  return {static_cast<int>(span.activity), span.begin_ns, span.end_ns, span.bytes, span.offset};
}

Span span_in(const json& message) {
  return {.activity = static_cast<Activity>(message.at(0).get<int>()),
          .begin_ns = message.at(1),
          .end_ns = message.at(2),
          .bytes = message.at(3),
          .offset = message.at(4)};
}

}  // namespace spillway::tool
