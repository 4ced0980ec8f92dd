#include "bench/step_options.h"

#include <fmt/core.h>

#include "demo_report.h"
#include "option_checks.h"

#include "spillway/error.h"

namespace spillway::steps {
namespace {

Config base_of(const Options& options) {
  Config config;
  OffloadOptimizerConfig& offload = config.offload_optimizer;
  if (options.config_file) {
    config = load_config(*options.config_file);
  } else {
    offload.device = OffloadDevice::nvme;
    offload.pin_memory = true;
  }
  if (!options.nvme_path.empty()) {
    offload.device = OffloadDevice::nvme;
    offload.nvme_path = options.nvme_path;
    config.io.path_weights.clear();  // those of the file were for the paths of the file
  }
  if (offload.device != OffloadDevice::nvme)
    throw Error(Errc::invalid_config,
                fmt::format("{}: offload_optimizer keeps the state in memory, so there is nothing "
                            "to measure; set offload_optimizer.device to nvme, or give --nvme-path",
                            options.config_file->string()));
  config.offload_param = {};  // not for this run
  return config;
}

EngineChoice engine_named(const std::string& name) {
  if (name == "io_uring") return EngineChoice::io_uring;
  return name == "threads" ? EngineChoice::threads : EngineChoice::automatic;
}

std::string_view name_of(EngineChoice engine) {
  switch (engine) {
    case EngineChoice::io_uring: return "io_uring";
    case EngineChoice::threads: return "threads";
    case EngineChoice::automatic: break;
  }
  return "auto";
}

// Every config of `from` with each of the values of one list in it; an empty list changes nothing.
template <typename Value, typename Set>
void multiply(std::vector<Variant>& variants, const std::vector<Value>& values, Set set) {
  if (values.empty()) return;
  std::vector<Variant> more;
  for (const Variant& variant : variants)
    for (const Value& value : values) set(more.emplace_back(variant), value);
  variants = std::move(more);
}

void check(const Variant& variant) {
  Config config = variant.config;
  if (config.offload_optimizer.nvme_path.empty())
    config.offload_optimizer.nvme_path = {"."};  // stands for the directory to be made
  validate(config);
  check_paths(config);
}

}  // namespace

std::string Variant::text() const {
  const OffloadOptimizerConfig& offload = config.offload_optimizer;
  const std::string tile = offload.buffer_size ? demo::bytes_text(*offload.buffer_size) : "4 MiB";
  return fmt::format("{}, {} x {}, ratio {}, {}{}", flags, offload.buffer_count, tile,
                     offload.ratio, name_of(config.io.engine),
                     config.io.checksums ? "" : ", no checksums");
}

demo::StepWork work_of(const Options& options) {
  return {.kind = demo::work_named(options.compute).value_or(demo::WorkKind::adamw),
          .repeat = options.repeat};
}

std::vector<Variant> variants_of(const Options& options) {
  if (!(options.seconds >= 0 && options.seconds <= 3600))  // NaN is neither
    throw Error(Errc::invalid_argument,
                fmt::format("--seconds {}: from 0 to 3600", options.seconds));
  std::vector<Variant> variants{{.flags = {}, .config = base_of(options)}};
  const auto field = [](const char* flag, const char* key, const std::string& text) {
    return tool::parse_field(flag, "offload_optimizer", key, text).offload_optimizer;
  };
  multiply(variants, options.tile_sizes, [&](Variant& variant, const std::string& text) {
    variant.config.offload_optimizer.buffer_size =
        field("--tile-size", "buffer_size", text).buffer_size;
  });
  multiply(variants, options.buffers, [&](Variant& variant, const std::string& text) {
    variant.config.offload_optimizer.buffer_count =
        field("--buffers", "buffer_count", text).buffer_count;
  });
  multiply(variants, options.ratios,
           [](Variant& variant, double ratio) { variant.config.offload_optimizer.ratio = ratio; });
  multiply(variants, options.engines, [](Variant& variant, const std::string& name) {
    variant.config.io.engine = engine_named(name);
  });
  multiply(variants, options.checksums, [](Variant& variant, const std::string& on) {
    variant.config.io.checksums = on == "on";
  });
  multiply(variants, options.flags, [](Variant& variant, const std::string& flags) {
    variant.flags = flags;
    variant.config.offload_optimizer.pipeline_read = flags == "read" || flags == "both";
    variant.config.offload_optimizer.pipeline_write = flags == "write" || flags == "both";
  });
  for (const Variant& variant : variants) check(variant);
  return variants;
}

}  // namespace spillway::steps
