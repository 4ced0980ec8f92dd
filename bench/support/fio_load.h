#pragma once

#include <string>
#include <utility>

#include "bench/fio.h"
#include "engine_load.h"
#include "load.h"

namespace spillway::bench {

/// fio on the file of an EngineLoad, which must outlive this: the same blocks and depth.
class FioLoad {
 public:
  static bool installed() { return !tool::Fio::version().empty(); }

  /// Runs fio a few times for no longer than it takes to start, to know what that costs.
  FioLoad(const EngineLoad& load, bool huge_pages, std::string engine = {},
          std::vector<std::string> more = {})
      : fio_(std::move(engine)),
        run_{.files = {load.file_names()},
             .file_bytes = load.file_bytes(),
             .block_bytes = load.settings().block_bytes,
             .depth = load.settings().depth,
             .direct = load.direct(),
             .huge_pages = huge_pages,
             .fill = load.settings().data,
             .more = std::move(more)},
        start_cpu_seconds_(fio_.start_cpu_seconds(run_)) {}

  /// The processor time is that of fio's process, less what a run costs that moves one block.
  Sample run(Pattern pattern, double seconds) {
    run_.pattern = pattern;
    run_.seconds = seconds;
    const tool::FioResult result = fio_.run(run_);
    return {.read_bytes = result.read_bytes,
            .written_bytes = result.written_bytes,
            .seconds = result.seconds,
            .cpu_seconds = result.cpu_seconds - start_cpu_seconds_};
  }

  std::string engine() const { return fio_.engine(); }

 private:
  tool::Fio fio_;
  tool::FioRun run_;
  double start_cpu_seconds_;
};

}  // namespace spillway::bench
