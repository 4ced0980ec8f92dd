#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "load.h"

#include "spillway/path_load.h"

namespace spillway::bench {

struct EngineLoadSettings {
  std::filesystem::path folder;
  std::int64_t file_bytes = 0;  ///< at least 1 MiB
  std::int64_t block_bytes = 1024 * 1024;
  int depth = 8;
  EngineChoice engine = EngineChoice::automatic;
  bool huge_pages = true;
  LoadFill data = LoadFill::random;
};

/// Our engine on a file of its own in a folder, kept full with `depth` transfers of one block each.
class EngineLoad {
 public:
  /// Makes the file, preallocated, and fills all of it. Throws Error.
  explicit EngineLoad(const EngineLoadSettings& settings);

  /// Throws Stopped after a signal, where somebody catches those (StopSignals).
  Sample run(Pattern pattern, double seconds);

  const EngineLoadSettings& settings() const { return settings_; }
  const std::string& engine() const { return last_.engine; }
  const std::vector<std::string>& features() const { return last_.features; }
  double huge_page_share() const { return last_.huge_page_share; }
  bool direct() const { return load_.paths()[0].direct_io; }
  /// "direct: ...", "BUFFERED: ...", with the proof or the reason.
  std::string direct_io() const;
  std::vector<std::string> file_names() const { return load_.file_names(); }
  std::int64_t file_bytes() const { return load_.bytes_per_file(); }

 private:
  LoadResult run_until(Pattern pattern, double seconds, std::int64_t bytes);

  EngineLoadSettings settings_;
  PathLoad load_;
  LoadResult last_;
};

}  // namespace spillway::bench
