#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace spillway {

/// Where state lives when the engine is not using it (DeepSpeed's OffloadDeviceEnum).
enum class OffloadDevice { none, cpu, nvme };

/// `zero_optimization.offload_param` of a ds_config (DeepSpeedZeroOffloadParamConfig).
struct OffloadParamConfig {
  OffloadDevice device = OffloadDevice::none;
  std::vector<std::filesystem::path> nvme_path;  ///< directories; JSON: a string or an array
  std::int64_t buffer_count = 5;                 ///< buffers in the pinned pool, >= 0
  std::int64_t buffer_size = 100 * 1024 * 1024;  ///< [bytes] of each, >= 0
  std::int64_t max_in_cpu = 1024 * 1024 * 1024;  ///< [elements] kept in CPU memory, >= 0
  bool pin_memory = false;

  bool operator==(const OffloadParamConfig&) const = default;
};

/// `zero_optimization.offload_optimizer` of a ds_config (DeepSpeedZeroOffloadOptimizerConfig).
struct OffloadOptimizerConfig {
  OffloadDevice device = OffloadDevice::none;
  std::vector<std::filesystem::path> nvme_path;
  std::int64_t buffer_count = 4;            ///< tiles in flight, >= 0
  std::optional<std::int64_t> buffer_size;  ///< [bytes] of one tile; unset: chosen. Ours.
  bool pin_memory = false;
  bool pipeline_read = false;   ///< read tiles ahead of the compute
  bool pipeline_write = false;  ///< write tiles behind the compute
  bool fast_init = false;       ///< first values are made when first read, not written at the start
  double ratio = 1.0;           ///< share of the state that is offloaded, [0, 1]

  /// DeepSpeed derives it from the two flags; so do we.
  bool pipeline() const { return pipeline_read || pipeline_write; }
  bool operator==(const OffloadOptimizerConfig&) const = default;
};

enum class EngineChoice { automatic, io_uring, threads };
enum class Switch { automatic, on, off };

/// How bytes move (section `io` of a native file; `aio` of a ds_config maps onto it).
struct IoConfig {
  EngineChoice engine = EngineChoice::automatic;
  std::int64_t block_size = 1024 * 1024;         ///< [bytes] of one device request, at most
  std::int64_t queue_depth = 64;                 ///< device requests in flight, at most
  std::int64_t read_budget = 64 * 1024 * 1024;   ///< [bytes] of reads in flight, at most
  std::int64_t write_budget = 16 * 1024 * 1024;  ///< [bytes] of writes in flight, at most
  std::int64_t threads = 0;                      ///< workers of the thread engine; 0: chosen
  std::int64_t stripe_unit = 1024 * 1024;        ///< [bytes] on one path before the next
  std::vector<std::int64_t> path_weights;        ///< one per path, >= 1; empty: all alike
  Switch direct = Switch::automatic;             ///< O_DIRECT; on: an error where refused
  bool checksums = true;                         ///< XXH3-64 of each section; off: trailers
  Switch huge_pages = Switch::automatic;         ///< off: 4 KiB pages; on: an error without them
  int numa_node = -1;                            ///< node of the pools; -1: the kernel's choice
  bool require_pinned = false;     ///< pin_memory that cannot be had is an error, not a warning
  bool dump_memory = true;         ///< false: pools are left out of core dumps (MADV_DONTDUMP)
  double timeout = 30.0;           ///< [s] a wait for I/O or buffers may last
  double shutdown_timeout = 10.0;  ///< [s] destruction waits for I/O in flight

  bool operator==(const IoConfig&) const = default;
};

struct Config {
  OffloadParamConfig offload_param;
  OffloadOptimizerConfig offload_optimizer;
  IoConfig io;

  bool operator==(const Config&) const = default;
};

/// How to read a file whose meaning depends on the engine.
struct LoadOptions {
  std::int64_t ds_element_bytes = 2;          ///< width of DeepSpeed's `buffer_size` elements
  std::vector<std::string>* notes = nullptr;  ///< receives warnings too, one line each
};

/// Reads a native config or a DeepSpeed `ds_config.json` (recognised by `zero_optimization`), then
/// validates it. Warnings go to the log and to `options.notes`.
/// Throws Error: not_found, permission_denied, io_error, invalid_config with all problems of the
/// file, each on a line with its JSON path (a syntax error with line and column), after a first
/// line with the file's name and their number. Nothing is created. Thread-safe.
Config load_config(const std::filesystem::path& file, const LoadOptions& options = {});

/// The same from text; `name` stands for the file in messages.
Config parse_config(std::string_view json, const LoadOptions& options = {},
                    std::string_view name = "config");

/// Checks ranges and the rules across fields, without looking at the machine.
/// Throws Error invalid_config with every problem, as load_config does.
void validate(const Config& config);

/// Checks that every nvme_path in use is a writable directory, and that no two are the same one.
/// Throws Error invalid_config with every problem. Creates nothing.
void check_paths(const Config& config);

/// Native JSON, every field written out; `parse_config(to_json(c)) == c` for every valid `c`.
/// Throws Error invalid_argument for what JSON cannot hold: a path that is not UTF-8, NaN.
std::string to_json(const Config& config);

/// A `ds_config.json` fragment with `zero_optimization` and `aio`; `buffer_size` in elements of
/// `element_bytes`. Settings that DeepSpeed has no name for are written only where they differ from
/// the defaults: in a section `io` of its own, which DeepSpeed passes over. Throws Error
/// invalid_argument as to_json does, and if a size is not a whole number of elements.
std::string to_ds_json(const Config& config, std::int64_t element_bytes = 2);

/// The effective settings, one a line, sizes in bytes: what the log and `--verbose` print.
std::string describe(const Config& config);

}  // namespace spillway
