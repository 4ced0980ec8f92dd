#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spillway {

/// Host memory, as asked for and as got. [bytes]
struct MemoryStats {
  std::int64_t pinned_bytes_requested = 0;  ///< pools: buffer_count x tile, with pin_memory
  std::int64_t pinned_bytes = 0;            ///< of these really locked (mlock, CUDA)
  std::int64_t region_bytes = 0;            ///< mapped for pools
  std::int64_t resident_share_bytes = 0;    ///< mapped for state that stays in memory
  std::int64_t locked_bytes = 0;            ///< by mlock, over all regions
  std::int64_t registered_bytes = 0;        ///< as fixed buffers of the ring
  std::int64_t metadata_bytes = 0;          ///< tables, estimated
  double huge_page_share = 0;               ///< of the pools, backed by 2 MiB pages
};

/// What one optimizer swapper has done since it was made.
struct OptimizerStats {
  std::int64_t parameters = 0;
  std::int64_t elements = 0;
  std::int64_t tiles = 0;
  std::int64_t resident_tiles = 0;
  std::int64_t tile_bytes = 0;
  std::int64_t buffers = 0;
  std::int64_t bytes_read = 0;     ///< by tiles, from the store
  std::int64_t bytes_written = 0;  ///< to the store (wear)
  std::int64_t tiles_read = 0;
  std::int64_t tiles_written = 0;
  std::int64_t write_retries = 0;   ///< writes that failed once and went to a fresh slot
  double stall_read_seconds = 0;    ///< next() waited for a read
  double stall_write_seconds = 0;   ///< next() waited for a write, or for the drain
  double stall_buffer_seconds = 0;  ///< next() waited for a free buffer
  double compute_seconds = 0;       ///< tiles were held, summed over tiles
  double checksum_seconds = 0;      ///< checksums, on the engine's threads
  MemoryStats memory;
};

/// What one parameter swapper has done since it was made.
struct ParameterStats {
  std::int64_t parameters = 0;
  std::int64_t elements = 0;
  std::int64_t fetches = 0;             ///< fetch and try_fetch that gave a lease
  std::int64_t bytes_fetched = 0;       ///< of read and update leases
  std::int64_t bytes_read = 0;          ///< from the store, for fetches and ahead of them
  std::int64_t bytes_read_ahead = 0;    ///< of these, in memory now for fetches to come
  std::int64_t bytes_read_into = 0;     ///< from the store, by read_into
  std::int64_t bytes_written = 0;       ///< to the store (wear)
  std::int64_t prefetches = 0;          ///< parameters whose reading began ahead of a fetch
  std::int64_t prefetches_dropped = 0;  ///< asked for, and did not fit
  std::int64_t evictions = 0;           ///< from the cache
  std::int64_t moves = 0;               ///< cached parameters moved to make a run
  std::int64_t write_retries = 0;       ///< writes that failed once and were tried again
  std::int64_t unwritten_bytes = 0;     ///< committed bytes whose writing has not ended
  std::int64_t cached_elements = 0;     ///< charged to max_in_cpu now
  std::int64_t peak_cached_elements = 0;
  std::int64_t cached_bytes = 0;  ///< of the cache's memory in use now
  std::int64_t peak_cached_bytes = 0;
  std::int64_t pool_bytes = 0;  ///< of the pool's budget in use now, in whole granules
  std::int64_t peak_pool_bytes = 0;
  double stall_read_seconds = 0;        ///< fetches waited for a read
  double stall_memory_seconds = 0;      ///< fetches waited for room in pool or cache
  double stall_lease_seconds = 0;       ///< fetches waited for other leases of the same range
  double checksum_seconds = 0;          ///< checksums, on the engine's threads
  MemoryStats memory;                   ///< resident_share_bytes: homes (device none, cpu)
  std::int64_t cache_region_bytes = 0;  ///< mapped for the cache, filled as it is used

  /// Share of the fetched bytes that need not be read for it.
  double hit_rate() const {
    return bytes_fetched == 0
               ? 0.0
               : 1.0 - static_cast<double>(bytes_read) / static_cast<double>(bytes_fetched);
  }
};

/// One nvme_path.
struct PathStats {
  std::string path;
  std::string file_system;
  bool direct_io = false;
  std::string direct_io_proof;  ///< how it was proven, or why not
  bool space_guaranteed = true;
  /// Another name of the data file, by which processes of this user can open it as long as it is
  /// there: to measure what its place gives, or to look at it.
  std::string data_file;
  std::int64_t allocated_bytes = 0;  ///< its size
  std::int64_t bytes_read = 0;
  std::int64_t bytes_written = 0;
};

struct Latency {
  double median_us = 0, p99_us = 0, max_us = 0;
};

/// One context: the engine and its paths.
struct ContextStats {
  std::string engine;                       ///< "io_uring", "threads"; empty: none needed
  std::vector<std::string> engine_reasons;  ///< why not io_uring, refused features
  std::vector<std::string> engine_features;
  std::int64_t bytes_read = 0, bytes_written = 0;
  std::int64_t reads = 0, writes = 0;  ///< device requests
  std::int64_t short_transfers = 0, retries = 0, errors = 0;
  std::int64_t peak_in_flight = 0;
  Latency read_latency, write_latency;  ///< of requests, from submit to done
  std::vector<PathStats> paths;
};

}  // namespace spillway
