#include "spillway_setting.h"

#include <fmt/core.h>

#include "base/byte_size.h"

namespace spillway::bench {

Config config_of(const StepShape& shape, bool checksums) {
  Config config;
  OffloadOptimizerConfig& offload = config.offload_optimizer;
  offload.device = OffloadDevice::nvme;
  offload.nvme_path = {shape.folder};
  offload.buffer_count = shape.buffers;
  offload.buffer_size = shape.tile_bytes;
  offload.pin_memory = offload.pipeline_read = offload.pipeline_write = true;
  config.io.checksums = checksums;
  return config;
}

std::string setting_of(const ContextStats& context, const OptimizerStats& optimizer) {
  bool direct = !context.paths.empty();
  for (const PathStats& path : context.paths) direct = direct && path.direct_io;
  return fmt::format("{}, {} tiles of {}, {} buffers, {} resident, {}", context.engine,
                     optimizer.tiles, format_bytes(optimizer.tile_bytes), optimizer.buffers,
                     format_bytes(optimizer.memory.resident_share_bytes),
                     direct ? "direct" : "BUFFERED");
}

}  // namespace spillway::bench
