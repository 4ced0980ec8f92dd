#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "spillway/config.h"

namespace spillway::demo {

/// What the command line says; what it leaves out comes from --config, else from the demo itself.
struct Options {
  std::string model = "gpt2";
  std::optional<std::int64_t> layers = {};
  std::int64_t steps = 3;
  std::uint64_t seed = 1;
  int threads = 0;  ///< of the compute; 0: one per processor
  bool reference = true;
  bool json = false;

  std::optional<std::filesystem::path> config_file = {};
  std::vector<std::filesystem::path> nvme_path = {};
  std::optional<std::string> device = {}, engine = {};
  std::optional<double> ratio = {};
  std::optional<std::string> buffer_count = {},
                             tile_bytes = {};  ///< as a config file would hold them
  std::optional<bool> pipeline_read = {}, pipeline_write = {}, pin_memory = {}, fast_init = {},
                      checksums = {};
};

/// The config of the run, checked as far as it can be without touching the machine. An nvme device
/// without a path is still without one: the demo then makes a directory.
///
/// Throws Error: what load_config() throws, invalid_config, invalid_argument.
Config resolve(const Options& options);

}  // namespace spillway::demo
