#include "bench/step_ceiling.h"

#include <fmt/core.h>

#include <algorithm>

#include "bench/child_process.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::steps {
namespace {

constexpr std::int64_t block_bytes = 1024 * 1024, page = 4096;
constexpr std::int64_t depth_of_path = 8;

void keep_going() { tool::StopSignals::check(); }

}  // namespace

bool Ceiling::is_of_fio(const std::string& wish) {
  if (wish != "auto" && wish != "fio") return false;
  const bool there = !tool::Fio::version().empty();
  if (!there && wish == "fio")
    throw Error(Errc::not_found,
                fmt::format("--ceiling fio: there is no fio here; {}", tool::Fio::how_to_install));
  return there;
}

Ceiling::Ceiling(const std::string& wish, const std::vector<std::filesystem::path>& paths,
                 std::int64_t file_bytes, LoadFill fill, const IoConfig& io)
    : paths_(std::ssize(paths)), fill_(fill) {
  if (wish == "none") return;
  if (is_of_fio(wish)) {
    huge_pages_ = std::make_unique<tool::HugePages>(2 * paths_ * depth_of_path * block_bytes);
    if (!huge_pages_->enough())
      doubt_ = fmt::format("fio gets pages of 4 KiB, and its rate may be no ceiling: {}",
                           huge_pages_->why_not());
    fio_ = std::make_unique<tool::Fio>(std::string(), tool::child_launcher);
    return;
  }
  const std::int64_t each =
      std::max(file_bytes / std::ssize(paths) / block_bytes, 2 * depth_of_path);
  load_ = std::make_unique<PathLoad>(
      PathLoadOptions{.paths = paths,
                      .file_bytes = each * block_bytes * std::ssize(paths),
                      .fill = fill,
                      .io = io});
  load_->fill({.on_progress = [](std::int64_t) { keep_going(); }});
}

std::string Ceiling::source() const {
  if (!ran_) return "none";
  return fio_ ? fmt::format("{} with {}", tool::Fio::version(), fio_->engine()) : "engine";
}

std::optional<CeilingRun> Ceiling::measure(const std::vector<PathStats>& state, double seconds) {
  const std::optional<CeilingRun> run = fio_ ? measure_fio(state, seconds) : measure_load(seconds);
  ran_ = ran_ || run;
  return run;
}

std::optional<CeilingRun> Ceiling::measure_fio(const std::vector<PathStats>& state,
                                               double seconds) {
  tool::FioRun run{.pattern = LoadPattern::mixed,
                   .files = {},
                   .block_bytes = block_bytes,
                   .depth = depth_of_path,
                   .direct = std::ranges::all_of(state, &PathStats::direct_io),
                   .huge_pages = huge_pages_->enough(),
                   .fill = fill_,
                   .seconds = seconds};
  std::int64_t largest = 0;
  for (const PathStats& path : state) largest = std::max(largest, path.allocated_bytes);
  if (largest < page) return std::nullopt;
  // A path that holds next to nothing is none that a step could use.
  const std::int64_t least = std::min(block_bytes, largest);
  for (std::int64_t p = 0; p < paths_; ++p) {
    std::vector<std::string> files;
    std::int64_t bytes = 0;
    for (auto i = static_cast<std::size_t>(p); i < state.size();
         i += static_cast<std::size_t>(paths_)) {
      const PathStats& file = state[i];  // of one rank
      if (file.allocated_bytes < least) continue;
      bytes = files.empty() ? file.allocated_bytes : std::min(bytes, file.allocated_bytes);
      files.push_back(file.data_file);
    }
    if (files.empty()) continue;
    if (bytes * std::ssize(files) < depth_of_path * block_bytes && doubt_.empty())
      doubt_ = "the state is smaller than what fio has in flight: its rate may be no ceiling";
    run.block_bytes = std::min(run.block_bytes, bytes / page * page);
    run.files.push_back(std::move(files));
    run.file_bytes_of_job.push_back(bytes);
  }
  const tool::FioResult result = fio_->run(run, keep_going);
  return CeilingRun{result.read_bytes, result.written_bytes, result.rate()};
}

CeilingRun Ceiling::measure_load(double seconds) {
  const LoadResult result = load_->run({.pattern = LoadPattern::mixed,
                                        .block_size = block_bytes,
                                        .queue_depth = paths_ * depth_of_path,
                                        .seconds = seconds},
                                       {.on_progress = [](std::int64_t) { keep_going(); }});
  return {result.bytes_read, result.bytes_written,
          static_cast<double>(result.bytes_read + result.bytes_written) / result.seconds()};
}

}  // namespace spillway::steps
