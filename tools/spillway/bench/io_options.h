#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "spillway/path_load.h"

namespace spillway::io_bench {

/// What the command line of `bench io` says.
struct Options {
  std::vector<std::filesystem::path> nvme_path = {"."};
  std::vector<std::string> patterns = {"read", "write", "mixed"};
  std::vector<std::string> block_sizes = {"1MiB"};
  std::vector<std::int64_t> queue_depths = {8};
  std::vector<std::string> engines = {"auto"};
  std::string size = "2GiB";
  std::string max_written = "96GiB";
  double seconds = 1;  ///< of each run
  std::int64_t ranks = 1, rounds = 3;
  std::string ceiling = "auto";          ///< auto, fio, none
  std::string data = "auto";             ///< auto, random, words
  std::optional<std::string> json = {};  ///< a file; "-": standard output
  std::optional<std::filesystem::path> trace = {};
};

/// Everything that is compared within one round: the same pattern, blocks and depth.
struct Group {
  LoadPattern pattern = LoadPattern::read;
  std::int64_t block_size = 0, queue_depth = 0;

  bool writes() const { return pattern != LoadPattern::read; }
};

/// The same, understood and checked.
struct Plan {
  std::vector<std::filesystem::path> paths;
  std::vector<Group> groups;
  std::vector<EngineChoice> engines;
  std::int64_t file_bytes_per_rank = 0;  ///< over all paths
  std::int64_t max_written = 0;          ///< [bytes] filling included, by us and by fio together
  double seconds = 1;
  int ranks = 1, rounds = 3;
  bool fio = false;
  LoadFill fill = LoadFill::random;

  std::int64_t file_bytes() const { return file_bytes_per_rank * ranks; }
  /// Runs of fio and of ours in one round of a group, at most.
  int runs_per_round() const { return static_cast<int>(engines.size()) + (fio ? 3 : 0); }
};

std::string_view name_of(LoadPattern pattern);
std::string_view name_of(EngineChoice engine);

/// `on_zram`: a path lies on a device that stores repeated words for free. `fio_there`: it is
/// installed. Throws Error: invalid_config, invalid_argument; not_found (fio, when it is asked
/// for). Paths are looked at when they are used.
Plan make_plan(const Options& options, bool on_zram, bool fio_there);

/// [bytes] that one run of a round may write per rank, when `runs` of them share `budget` over
/// `ranks`: whole blocks, 0 when not even one is left.
std::int64_t share_of_budget(std::int64_t budget, std::int64_t runs, int ranks,
                             std::int64_t block_size);

}  // namespace spillway::io_bench
