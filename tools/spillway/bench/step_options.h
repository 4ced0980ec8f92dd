#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "step_work.h"

#include "spillway/config.h"

namespace spillway::steps {

/// What the command line says. Lists are multiplied: every combination is a variant.
struct Options {
  std::string model = "gpt2";
  std::optional<std::int64_t> layers = {};
  std::string compute = "adamw";  ///< a WorkKind
  int repeat = 1;
  int threads = 0;  ///< of the compute, over all ranks; 0: one per processor

  std::vector<std::string> flags = {"both", "none"};  ///< none, read, write, both
  std::vector<std::string> tile_sizes = {}, buffers = {}, engines = {};
  std::vector<double> ratios = {};
  std::vector<std::string> checksums = {};  ///< on, off
  int ranks = 1;

  int rounds = 5;
  double seconds = 1;  ///< at least, of each turn in a round
  std::string ceiling = "auto";
  std::optional<std::filesystem::path> config_file = {};
  std::vector<std::filesystem::path> nvme_path = {};
  std::optional<std::string> json = {};  ///< a file, or "-": instead of the table
  std::optional<std::filesystem::path> trace = {};
};

/// One way to do the step.
struct Variant {
  std::string flags;  ///< as above
  Config config;      ///< nvme_path may be missing, and is then to be made

  /// "both, 4 x 4 MiB, ratio 1, io_uring, checksums on": what tells it from the others.
  std::string text() const;
};

demo::StepWork work_of(const Options& options);

/// Every combination, in the order of the lists; the first is what the others are compared with.
/// Throws Error: what load_config() throws, invalid_config (a combination that cannot run: its
/// problems), invalid_argument.
std::vector<Variant> variants_of(const Options& options);

}  // namespace spillway::steps
