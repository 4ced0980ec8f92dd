#include "bench/step_ceiling.h"

#include <fmt/core.h>

#include <algorithm>

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
    : depth_(depth_of_path * std::ssize(paths)), fill_(fill) {
  if (wish == "none") return;
  if (is_of_fio(wish)) {
    huge_pages_ = std::make_unique<tool::HugePages>(2 * depth_ * block_bytes);
    if (!huge_pages_->enough())
      doubt_ = fmt::format("fio gets pages of 4 KiB, and its rate may be no ceiling: {}",
                           huge_pages_->why_not());
    fio_ = std::make_unique<tool::Fio>();
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
  if (fio_) return fmt::format("{} with {}", tool::Fio::version(), fio_->engine());
  return load_ ? "engine" : "none";
}

std::optional<double> Ceiling::measure(const std::vector<PathStats>& state, double seconds) {
  return fio_ ? measure_fio(state, seconds) : measure_load(seconds);
}

std::optional<double> Ceiling::measure_fio(const std::vector<PathStats>& state, double seconds) {
  tool::FioRun run{.pattern = LoadPattern::mixed,
                   .files = {{}},
                   .file_bytes = 0,
                   .block_bytes = block_bytes,
                   .depth = depth_,
                   .direct = std::ranges::all_of(state, &PathStats::direct_io),
                   .huge_pages = huge_pages_->enough(),
                   .fill = fill_,
                   .seconds = seconds};
  // A path that holds nothing, or next to it, is none that a step could use.
  for (const PathStats& path : state) {
    if (path.allocated_bytes < page) continue;
    run.files[0].push_back(path.data_file);
    run.file_bytes =
        run.file_bytes == 0 ? path.allocated_bytes : std::min(run.file_bytes, path.allocated_bytes);
  }
  if (run.files[0].empty()) return std::nullopt;
  run.block_bytes = std::min(block_bytes, run.file_bytes / page * page);
  return fio_->run(run, keep_going).rate();
}

double Ceiling::measure_load(double seconds) {
  const LoadResult result = load_->run({.pattern = LoadPattern::mixed,
                                        .block_size = block_bytes,
                                        .queue_depth = depth_,
                                        .seconds = seconds},
                                       {.on_progress = [](std::int64_t) { keep_going(); }});
  return static_cast<double>(result.bytes_read + result.bytes_written) / result.seconds();
}

}  // namespace spillway::steps
