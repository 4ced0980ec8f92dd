#include "demo_options.h"

#include <string_view>

#include "option_checks.h"

namespace spillway::demo {
namespace {

// What the demo shows when nothing else is asked for.
Config demo_defaults() {
  Config config;
  OffloadOptimizerConfig& offload = config.offload_optimizer;
  offload.device = OffloadDevice::nvme;
  offload.pipeline_read = true;
  offload.pipeline_write = true;
  offload.pin_memory = true;
  return config;
}

OffloadOptimizerConfig parse_field(std::string_view flag, std::string_view key,
                                   const std::string& text) {
  return tool::parse_field(flag, "offload_optimizer", key, text).offload_optimizer;
}

OffloadDevice device_named(const std::string& name) {
  if (name == "none") return OffloadDevice::none;
  if (name == "cpu") return OffloadDevice::cpu;
  return OffloadDevice::nvme;
}

EngineChoice engine_named(const std::string& name) {
  if (name == "io_uring") return EngineChoice::io_uring;
  if (name == "threads") return EngineChoice::threads;
  return EngineChoice::automatic;
}

}  // namespace

Config resolve(const Options& options) {
  Config config = options.config_file ? load_config(*options.config_file) : demo_defaults();
  OffloadOptimizerConfig& offload = config.offload_optimizer;
  if (options.device) offload.device = device_named(*options.device);
  if (!options.nvme_path.empty()) {
    offload.nvme_path = options.nvme_path;
    config.io.path_weights.clear();  // those of the file were for the paths of the file
  }
  if (options.ratio) offload.ratio = *options.ratio;
  if (options.buffer_count)
    offload.buffer_count =
        parse_field("--buffer-count", "buffer_count", *options.buffer_count).buffer_count;
  if (options.tile_bytes)
    offload.buffer_size =
        parse_field("--tile-bytes", "buffer_size", *options.tile_bytes).buffer_size;
  if (options.pipeline_read) offload.pipeline_read = *options.pipeline_read;
  if (options.pipeline_write) offload.pipeline_write = *options.pipeline_write;
  if (options.pin_memory) offload.pin_memory = *options.pin_memory;
  if (options.fast_init) offload.fast_init = *options.fast_init;
  if (options.checksums) config.io.checksums = *options.checksums;
  if (options.engine) config.io.engine = engine_named(*options.engine);
  // The demo swaps no parameters: what the file says of them is not for this run.
  config.offload_param = {};

  Config checked = config;
  if (offload.device == OffloadDevice::nvme && offload.nvme_path.empty())
    checked.offload_optimizer.nvme_path = {"."};  // stands for the directory to be made
  validate(checked);
  check_paths(checked);
  return config;
}

}  // namespace spillway::demo
