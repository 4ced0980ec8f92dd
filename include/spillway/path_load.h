#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "spillway/config.h"
#include "spillway/stats.h"

namespace spillway {

class Timeline;

enum class LoadPattern {
  read,
  write,
  mixed,  ///< a read, a write, a read, ...: what an optimizer step does
};

/// What the files hold. Either way a page tells by itself whether it is whole.
enum class LoadFill {
  random,  ///< incompressible
  words,   ///< each 4 KiB page one word repeated, which devices in memory (zram) store for free
};

struct PathLoadOptions {
  std::vector<std::filesystem::path> paths;  ///< directories; one data file under each
  std::int64_t file_bytes = 0;               ///< of all files together
  LoadFill fill = LoadFill::random;
  std::uint64_t seed = 1;
  bool pin_memory = true;
  /// Of these: threads, direct, huge_pages, numa_node, timeout, shutdown_timeout.
  IoConfig io = {};
};

/// One run: `queue_depth` transfers of `block_size` in flight until the first of the bounds.
struct LoadShape {
  LoadPattern pattern = LoadPattern::read;
  EngineChoice engine = EngineChoice::automatic;
  std::int64_t block_size = 1024 * 1024;  ///< [bytes] a multiple of 4096
  std::int64_t queue_depth = 8;
  double seconds = 1;
  std::int64_t max_read = INT64_MAX;     ///< [bytes]
  std::int64_t max_written = INT64_MAX;  ///< [bytes]
};

/// What a caller may see of a run while it goes on. What a function throws ends the run.
struct LoadWatch {
  /// Memory, files and engine are there; the first transfer leaves when this returns.
  std::function<void()> on_prepared = {};
  /// Some twenty times a second, with the bytes moved so far.
  std::function<void(std::int64_t bytes)> on_progress = {};
  std::shared_ptr<Timeline> timeline = nullptr;  ///< receives every transfer
};

/// Within 12.5 %. [us]
struct LoadLatency {
  std::int64_t count = 0;
  double p50 = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;
};

struct LoadResult {
  std::string engine;                     ///< the one that ran
  std::vector<std::string> features;      ///< of it
  std::vector<std::string> reasons;       ///< what was refused
  std::int64_t begin_ns = 0, end_ns = 0;  ///< first submit, last completion (Timeline::now_ns)
  std::int64_t bytes_read = 0, bytes_written = 0;
  std::int64_t short_transfers = 0, retries = 0;
  LoadLatency read_latency, write_latency;  ///< from submit to done
  double cpu_seconds = 0;                   ///< of the whole process, the kernel's part included
  double huge_page_share = 0;               ///< of the buffers
  std::int64_t cached_bytes = 0;   ///< of the files, in the page cache afterwards; -1: unknown
  std::int64_t pages_checked = 0;  ///< of those written, read back and found whole

  double seconds() const { return 1e-9 * static_cast<double>(end_ns - begin_ns); }
};

/// What paths can move through the engine that swappers use, without tiles, checksums or compute:
/// for benchmarks and probes.
///
/// Under each path stands one preallocated data file without a name, in a locked directory of its
/// own, as a swapper's does; it goes with the object, or with the process. Buffers come from a
/// region of huge pages, pinned where that works.
///
/// Threads: one at a time.
class PathLoad {
 public:
  /// Makes the files and finds out whether they bypass the page cache. Throws Error:
  /// invalid_argument, not_found, permission_denied, no_space, does_not_fit (a file system in
  /// memory), unsupported (io.direct on and refused), io_error. Nothing is left.
  explicit PathLoad(const PathLoadOptions& options);
  ~PathLoad();
  PathLoad(const PathLoad&) = delete;
  PathLoad& operator=(const PathLoad&) = delete;

  /// Writes every block of every file. Must come before the first run that reads.
  void fill(const LoadWatch& watch = {});

  /// Throws Error: invalid_argument (the shape), unsupported (an engine that is not to be had),
  /// out_of_memory, io_error, timeout (the device stopped answering), corrupt (what was written
  /// is not what is read back).
  LoadResult run(const LoadShape& shape, const LoadWatch& watch = {});

  /// [bytes] of each file.
  std::int64_t bytes_per_file() const;
  /// Names under which other processes of this user can open the files, as long as this one lives.
  std::vector<std::string> file_names() const;
  /// File system, proof of direct I/O, space: one per path.
  std::vector<PathStats> paths() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spillway
