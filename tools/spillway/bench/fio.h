#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/path_load.h"

namespace spillway::tool {

/// One run of fio over files that exist and are filled.
struct FioRun {
  LoadPattern pattern = LoadPattern::read;
  std::vector<std::vector<std::string>> files = {};  ///< of each job; jobs run beside each other
  std::int64_t file_bytes = 0;                       ///< of each file
  std::vector<std::int64_t> file_bytes_of_job = {};  ///< where jobs differ in that
  std::int64_t block_bytes = 1024 * 1024;
  std::int64_t depth = 8;  ///< of each job, over all its files
  bool direct = true;
  bool huge_pages = true;  ///< hugetlb pages for its buffers, which must be free (HugePages)
  LoadFill fill = LoadFill::random;
  double seconds = 1;
  /// [bytes] of each job, reads and writes together; 0: no bound. With one, fio drains its queue
  /// at each end of the files.
  std::int64_t max_bytes = 0;
  std::vector<std::string> more = {};  ///< arguments for fio
};

struct FioResult {
  std::int64_t read_bytes = 0, written_bytes = 0;
  double seconds = 0;
  double cpu_seconds = 0;  ///< of the whole process, its start included
  LoadLatency read_latency, write_latency;

  double rate() const { return static_cast<double>(read_bytes + written_bytes) / seconds; }
};

/// fio as the ceiling of a path: the same files, blocks and depth, as fast as it goes.
///
/// It gets registered files and fixed buffers with io_uring; where that is refused plain io_uring,
/// and then libaio. Of the buffers' contents it makes nothing new for each write, as we do not.
class Fio {
 public:
  /// The words to start a child with, before its own; `small_pages`: no huge ones behind its back.
  using Launcher = std::function<std::vector<std::string>(bool small_pages)>;
  using OnTick = std::function<void()>;

  /// "fio-3.33"; empty where there is none.
  static std::string version();
  static constexpr std::string_view how_to_install =
      "install fio for a ceiling beside the figures: apt-get install fio";

  /// `engine` empty: chosen as above. Throws Error not_found without fio.
  explicit Fio(std::string engine = {}, Launcher launcher = {});

  /// Throws Error: io_error with what fio said; Stopped.
  FioResult run(const FioRun& run, const OnTick& on_tick = {});
  /// [s] of processor time that a run like this takes to start and to move one block: the least of
  /// `tries`, for what is above it is noise.
  double start_cpu_seconds(FioRun run, int tries = 3);
  /// What it moves bytes with, after the first run: "io_uring, registered files, fixed buffers".
  std::string engine() const;

 private:
  struct Way {
    std::string engine;
    bool registered = false;
  };
  FioResult run_one_way(const FioRun& run, const Way& way, const OnTick& on_tick) const;

  Launcher launcher_;
  std::vector<Way> ways_;  // those that may still work; the first is the one in use
};

/// fio's own words from its arguments on, for `run`. Seen by tests.
std::vector<std::string> fio_arguments(const FioRun& run);
/// Reads what fio wrote with --output-format=json, whatever stands before and after the object;
/// `status` as of waitpid(). Throws Error io_error.
FioResult parse_fio(std::string_view output, int status);

}  // namespace spillway::tool
