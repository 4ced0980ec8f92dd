#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/align.h"
#include "engine_load.h"
#include "fio_load.h"
#include "machine.h"
#include "scratch_directory.h"

namespace spillway::bench {

/// Benchmarks that move bytes of a file under the current directory: seconds of one measurement and
/// size of the file, small where only the program is tried.
inline double traffic_seconds() { return tiny() ? 0.01 : 1.0; }
inline std::int64_t traffic_file_bytes() { return tiny() ? 4 * MiB : GiB; }

/// One folder for all benchmarks of a program, removed at its end.
inline const std::filesystem::path& traffic_folder() {
  static const tool::ScratchDirectory folder;
  return folder.path();
}

/// One iteration is one measurement: the rate as bytes per second, and what it costs.
template <typename Load>
void report_traffic(benchmark::State& state, Load& load, Pattern pattern) {
  Sample all;
  for (auto _ : state) {
    const Sample sample = load.run(pattern, traffic_seconds());
    state.SetIterationTime(sample.seconds);
    all.read_bytes += sample.read_bytes;
    all.written_bytes += sample.written_bytes;
    all.cpu_seconds += sample.cpu_seconds;
  }
  state.SetBytesProcessed(all.read_bytes + all.written_bytes);
  state.counters["cpu_s_per_GiB"] = all.cpu_per_gib();
}

/// The ceiling beside the figures: fio on a file of the same size, huge pages where there are some.
inline FioLoadSettings ceiling_settings(std::int64_t block_bytes, int depth, bool huge_pages) {
  EngineLoadSettings file{.file = traffic_folder() / "fio.bin",
                          .file_bytes = traffic_file_bytes(),
                          .block_bytes = block_bytes,
                          .depth = depth,
                          .huge_pages = huge_pages};
  const EngineLoad made(file);  // fills it
  return {.file = file.file,
          .file_bytes = file.file_bytes,
          .block_bytes = block_bytes,
          .depth = depth,
          .direct = made.direct_io().starts_with("direct"),
          .huge_pages = huge_pages};
}

}  // namespace spillway::bench
