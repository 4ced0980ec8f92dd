#include "bench/step_ceiling.h"

#include <fmt/core.h>

#include <algorithm>

#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::steps {
namespace {

constexpr std::int64_t block_bytes = 1024 * 1024;
constexpr std::int64_t depth_of_path = 8;

bool use_fio(const std::string& wish) {
  if (wish != "auto" && wish != "fio") return false;
  const bool there = !tool::Fio::version().empty();
  if (!there && wish == "fio")
    throw Error(Errc::not_found,
                fmt::format("--ceiling fio: there is no fio here; {}", tool::Fio::how_to_install));
  return there;
}

void keep_going() { tool::StopSignals::check(); }

}  // namespace

Ceiling::Ceiling(const std::string& wish, const std::vector<std::filesystem::path>& paths,
                 std::int64_t file_bytes, LoadFill fill, const IoConfig& io) {
  if (wish == "none") return;
  const bool fio = use_fio(wish);
  const auto count = static_cast<std::int64_t>(paths.size());
  const std::int64_t each = std::max(file_bytes / count / block_bytes, 2 * depth_of_path);
  load_ = std::make_unique<PathLoad>(PathLoadOptions{
      .paths = paths, .file_bytes = each * block_bytes * count, .fill = fill, .io = io});
  load_->fill({.on_progress = [](std::int64_t) { keep_going(); }});
  if (!fio) return;

  const std::int64_t depth = depth_of_path * count;
  huge_pages_ = std::make_unique<tool::HugePages>(2 * depth * block_bytes);
  if (!huge_pages_->enough())
    doubt_ = fmt::format("fio gets pages of 4 KiB, and its rate may be no ceiling: {}",
                         huge_pages_->why_not());
  fio_ = std::make_unique<tool::Fio>();
  run_ = {.pattern = LoadPattern::mixed,
          .files = {load_->file_names()},
          .file_bytes = load_->bytes_per_file(),
          .block_bytes = block_bytes,
          .depth = depth,
          .direct = std::ranges::all_of(load_->paths(), &PathStats::direct_io),
          .huge_pages = huge_pages_->enough(),
          .fill = fill};
}

std::string Ceiling::source() const {
  if (!load_) return "none";
  return fio_ ? fmt::format("{} with {}", tool::Fio::version(), fio_->engine()) : "engine";
}

double Ceiling::measure(double seconds) {
  if (fio_) {
    run_.seconds = seconds;
    return fio_->run(run_, keep_going).rate();
  }
  const LoadResult result =
      load_->run({.pattern = LoadPattern::mixed,
                  .block_size = block_bytes,
                  .queue_depth = depth_of_path * static_cast<std::int64_t>(load_->paths().size()),
                  .seconds = seconds},
                 {.on_progress = [](std::int64_t) { keep_going(); }});
  return static_cast<double>(result.bytes_read + result.bytes_written) / result.seconds();
}

}  // namespace spillway::steps
