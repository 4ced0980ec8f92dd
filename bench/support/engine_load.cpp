#include "engine_load.h"

#include "stop_signals.h"

namespace spillway::bench {
namespace {

PathLoadOptions options_of(const EngineLoadSettings& settings) {
  PathLoadOptions options{
      .paths = {settings.folder}, .file_bytes = settings.file_bytes, .fill = settings.data};
  if (!settings.huge_pages) options.io.huge_pages = Switch::off;
  return options;
}

LoadWatch watch() {
  return {.on_progress = [](std::int64_t) { tool::StopSignals::check(); }};
}

}  // namespace

EngineLoad::EngineLoad(const EngineLoadSettings& settings)
    : settings_(settings), load_(options_of(settings)) {
  load_.fill(watch());
  last_ = run_until(Pattern::read, 60, settings.block_bytes);
}

LoadResult EngineLoad::run_until(Pattern pattern, double seconds, std::int64_t bytes) {
  return load_.run({.pattern = pattern,
                    .engine = settings_.engine,
                    .block_size = settings_.block_bytes,
                    .queue_depth = settings_.depth,
                    .seconds = seconds,
                    .max_read = bytes,
                    .max_written = bytes},
                   watch());
}

Sample EngineLoad::run(Pattern pattern, double seconds) {
  last_ = run_until(pattern, seconds, INT64_MAX);
  return {.read_bytes = last_.bytes_read,
          .written_bytes = last_.bytes_written,
          .seconds = last_.seconds(),
          .cpu_seconds = last_.cpu_seconds};
}

std::string EngineLoad::direct_io() const {
  const PathStats path = load_.paths()[0];
  return (path.direct_io ? "direct: " : "BUFFERED: ") + path.direct_io_proof;
}

}  // namespace spillway::bench
