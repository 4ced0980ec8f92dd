#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/align.h"
#include "bench/huge_pages.h"
#include "engine_load.h"
#include "fio_load.h"
#include "machine.h"
#include "scratch_directory.h"

#include "spillway/error.h"

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

/// Adds the ceiling beside the figures: fio on a file of the same size, 1 MiB blocks, eight in
/// flight, from huge pages where there are some free. Nothing without fio.
inline void register_fio_ceiling(const std::string& name, Pattern pattern) {
  if (!FioLoad::installed()) return;
  const auto ceiling = [pattern](benchmark::State& state) {
    try {
      constexpr int depth = 8;
      const std::int64_t block = tiny() ? 256 * KiB : MiB;
      const bool huge = !tiny() && tool::HugePages::free_for(depth * block + 2 * MiB);
      const EngineLoad file({.folder = traffic_folder(),
                             .file_bytes = traffic_file_bytes(),
                             .block_bytes = block,
                             .depth = depth,
                             .huge_pages = huge});
      FioLoad fio(file, huge);
      report_traffic(state, fio, pattern);
      state.SetLabel(fio.engine() + (huge ? ", huge pages" : ", 4 KiB pages: no ceiling"));
    } catch (const Error& error) {
      state.SkipWithError(error.what());
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), ceiling)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(1);
}

}  // namespace spillway::bench
