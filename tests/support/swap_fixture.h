#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "spillway/spillway.h"

namespace spillway::test {

/// A directory of its own under the current one, removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string name = "spillway-test-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = std::filesystem::absolute(name);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }
  bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

/// Small tiles on `device`, three buffers, both pipelines, fast_init.
inline Config small_config(OffloadDevice device, const std::filesystem::path& path) {
  Config config;
  OffloadOptimizerConfig& optimizer = config.offload_optimizer;
  optimizer.device = device;
  if (device == OffloadDevice::nvme) optimizer.nvme_path = {path};
  optimizer.buffer_count = 3;
  optimizer.buffer_size = 128 * 1024;
  optimizer.pipeline_read = optimizer.pipeline_write = true;
  optimizer.fast_init = true;
  return config;
}

}  // namespace spillway::test
