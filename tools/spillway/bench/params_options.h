#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/config.h"

namespace spillway::params {

/// How a pass uses the model's layers; see build_pass().
enum class Trace { forward_backward, cyclic, moe };

std::string_view name_of(Trace trace);

/// What the command line says.
struct Options {
  std::string model = "gpt2";
  std::optional<std::int64_t> layers = {};
  std::string trace = "forward-backward";
  std::vector<std::string> caps = {};  ///< elements, or shares as in "25%"; empty: chosen
  std::int64_t passes = 5;
  double think_ms = 0;                   ///< per layer
  std::optional<std::string> json = {};  ///< a file, or "-": instead of the table
  std::vector<std::filesystem::path> nvme_path = {};
  std::optional<std::filesystem::path> config_file = {};
};

/// One size of the CPU cache.
struct Cap {
  std::string text;           ///< as it was asked for
  std::int64_t elements = 0;  ///< max_in_cpu
};

Trace trace_named(const std::string& name);

/// "25%" of `total` elements, or elements by the rules of config files. Throws Error
/// invalid_config, invalid_argument.
Cap parse_cap(const std::string& text, std::int64_t total);

/// Makes a pool for one unit in use and the next one on its way: both take `pair_bytes`.
void choose_pool(OffloadParamConfig& offload, std::int64_t pair_bytes);

/// The config of the runs, max_in_cpu to be set for each. Without a file offload_param's pool is
/// still to be chosen (buffer_count 0); a path may be missing, and is then to be made.
/// Throws Error: what load_config() throws, invalid_config (a device other than nvme).
Config resolve(const Options& options);

}  // namespace spillway::params
