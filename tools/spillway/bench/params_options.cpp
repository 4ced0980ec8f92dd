#include "bench/params_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "option_checks.h"

#include "spillway/error.h"

namespace spillway::params {

std::string_view name_of(Trace trace) {
  switch (trace) {
    case Trace::forward_backward: return "forward-backward";
    case Trace::cyclic: return "cyclic";
    case Trace::moe: return "moe";
  }
  return "?";
}

Trace trace_named(const std::string& name) {
  for (const Trace trace : {Trace::forward_backward, Trace::cyclic, Trace::moe})
    if (name == name_of(trace)) return trace;
  throw Error(Errc::invalid_argument,
              fmt::format("--trace {}: not one of forward-backward, cyclic, moe", name));
}

Cap parse_cap(const std::string& text, std::int64_t total) {
  if (!text.ends_with('%'))
    return {
        text,
        tool::parse_field("--cap", "offload_param", "max_in_cpu", text).offload_param.max_in_cpu};
  double share = 0;
  const char* const last = text.data() + text.size() - 1;
  const auto [end, error] = std::from_chars(text.data(), last, share);
  if (error != std::errc() || end != last || !std::isfinite(share) || share < 0)
    throw Error(Errc::invalid_argument,
                fmt::format("--cap {}: a share of the model is written 25%", text));
  // More than all of it is nothing more.
  const double elements = std::ceil(std::min(share, 100.0) / 100 * static_cast<double>(total));
  return {text, std::min(total, static_cast<std::int64_t>(elements))};
}

// Each tensor's buffer ends on a whole 2 MiB, for which a quarter is added.
void choose_pool(OffloadParamConfig& offload, std::int64_t pair_bytes) {
  constexpr std::int64_t MiB = 1024 * 1024;
  const std::int64_t bytes = std::max(32 * MiB, pair_bytes / 4 * 5);
  offload.buffer_size = 4 * MiB;
  offload.buffer_count = (bytes + offload.buffer_size - 1) / offload.buffer_size;
}

Config resolve(const Options& options) {
  Config config;
  if (options.config_file) {
    config = load_config(*options.config_file);
  } else {
    config.offload_param.device = OffloadDevice::nvme;
    config.offload_param.pin_memory = true;
    config.offload_param.buffer_count = 0;
  }
  OffloadParamConfig& offload = config.offload_param;
  if (!options.nvme_path.empty()) {
    offload.device = OffloadDevice::nvme;
    offload.nvme_path = options.nvme_path;
    config.io.path_weights.clear();  // those of the file were for the paths of the file
  }
  if (offload.device != OffloadDevice::nvme)
    throw Error(Errc::invalid_config,
                fmt::format("{}: offload_param keeps the parameters in memory, so there is nothing "
                            "to measure; set offload_param.device to nvme, or give --nvme-path",
                            options.config_file->string()));
  config.offload_optimizer = {};  // not for this run

  Config checked = config;
  if (offload.nvme_path.empty()) checked.offload_param.nvme_path = {"."};  // to be made
  if (offload.buffer_count == 0 && !options.config_file) checked.offload_param.buffer_count = 1;
  validate(checked);
  check_paths(checked);
  return config;
}

}  // namespace spillway::params
