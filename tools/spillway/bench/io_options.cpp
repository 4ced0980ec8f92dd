#include "bench/io_options.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "bench/fio.h"
#include "option_checks.h"

#include "spillway/error.h"

namespace spillway::io_bench {
namespace {

constexpr std::int64_t page_bytes = 4096;
constexpr std::int64_t least_file_bytes = 1024 * 1024;

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(Errc::invalid_argument, fmt::format(text, std::forward<Args>(args)...));
}

std::int64_t bytes_of(std::string_view flag, const std::string& text) {
  try {
    if (text != "auto")  // as configs take
      return tool::parse_field(flag, "offload_param", "buffer_size", text)
          .offload_param.buffer_size;
  } catch (const Error&) {  // it speaks of the field whose rules these are
  }
  refuse("{} {}: must be a number of bytes, or a size as 96MiB, and less than 8 EiB", flag, text);
}

LoadPattern pattern_named(const std::string& name) {
  for (const LoadPattern pattern : {LoadPattern::read, LoadPattern::write, LoadPattern::mixed})
    if (name == name_of(pattern)) return pattern;
  refuse("--pattern {}: not one of read, write, mixed", name);
}

EngineChoice engine_named(const std::string& name) {
  for (const EngineChoice engine :
       {EngineChoice::automatic, EngineChoice::io_uring, EngineChoice::threads})
    if (name == name_of(engine)) return engine;
  refuse("--engine {}: not one of auto, io_uring, threads", name);
}

// The result would not be JSON.
void check_encoding(const std::filesystem::path& path) {
  try {
    static_cast<void>(nlohmann::json(path.string()).dump());
  } catch (const nlohmann::json::exception&) {
    refuse("--nvme-path: a name that is not UTF-8 cannot stand in a report");
  }
}

void make_groups(const Options& options, Plan& plan) {
  const std::int64_t per_file =
      plan.file_bytes_per_rank / std::ssize(plan.paths) / least_file_bytes * least_file_bytes;
  if (per_file < least_file_bytes)
    refuse("--size {}: {} ranks with {} paths each need at least 1 MiB per file", options.size,
           plan.ranks, plan.paths.size());
  for (const std::string& pattern : options.patterns)
    for (const std::string& block : options.block_sizes)
      for (const std::int64_t depth : options.queue_depths) {
        const Group group{pattern_named(pattern), bytes_of("--block-size", block), depth};
        if (group.block_size <= 0 || group.block_size % page_bytes != 0)
          refuse("--block-size {}: must be a positive multiple of 4096 bytes", block);
        if (group.block_size > per_file)
          refuse("--block-size {}: more than the {} bytes of each file; raise --size", block,
                 per_file);
        if (depth < 1 || depth > 16384) refuse("--queue-depth {}: must be 1 to 16384", depth);
        plan.groups.push_back(group);
      }
  if (plan.groups.empty()) refuse("a pattern, a block size and a queue depth are needed");
}

void check_budget(const Options& options, const Plan& plan) {
  std::int64_t runs = 0, largest = 0;
  for (const Group& group : plan.groups)
    if (group.writes()) {
      runs += plan.rounds * plan.runs_per_round();
      largest = std::max(largest, group.block_size);
    }
  const std::int64_t left = plan.max_written - plan.file_bytes();
  // A mixed run of fio counts reads too.
  if (left < 0 || (runs > 0 && share_of_budget(left, runs, plan.ranks, largest) < 2 * largest))
    refuse(
        "--max-written {}: filling the files takes {} bytes, and {} runs that write need two "
        "blocks each; raise it, or lower --size or --rounds",
        options.max_written, plan.file_bytes(), runs);
}

}  // namespace

std::string_view name_of(LoadPattern pattern) {
  switch (pattern) {
    case LoadPattern::read: return "read";
    case LoadPattern::write: return "write";
    case LoadPattern::mixed: return "mixed";
  }
  return "?";
}

std::string_view name_of(EngineChoice engine) {
  switch (engine) {
    case EngineChoice::automatic: return "auto";
    case EngineChoice::io_uring: return "io_uring";
    case EngineChoice::threads: return "threads";
  }
  return "?";
}

std::int64_t share_of_budget(std::int64_t budget, std::int64_t runs, int ranks,
                             std::int64_t block_size) {
  if (budget <= 0 || runs <= 0) return 0;
  return budget / runs / ranks / block_size * block_size;
}

Plan make_plan(const Options& options, bool on_zram, bool fio_there) {
  Plan plan;
  plan.paths = options.nvme_path;
  for (const std::filesystem::path& path : plan.paths) check_encoding(path);
  plan.ranks = static_cast<int>(options.ranks);
  plan.rounds = static_cast<int>(options.rounds);
  plan.seconds = options.seconds;
  if (!(plan.seconds >= 0.01 && plan.seconds <= 3600))  // not a number, too
    refuse("--seconds {}: must be 0.01 to 3600", options.seconds);
  plan.file_bytes_per_rank = bytes_of("--size", options.size) / plan.ranks;
  plan.max_written = bytes_of("--max-written", options.max_written);
  for (const std::string& engine : options.engines) plan.engines.push_back(engine_named(engine));
  if (options.ceiling == "fio" && !fio_there)
    throw Error(Errc::not_found,
                fmt::format("--ceiling fio: there is no fio here; {}", tool::Fio::how_to_install));
  plan.fio = fio_there && options.ceiling != "none";
  plan.fill = options.data == "words" || (options.data == "auto" && on_zram) ? LoadFill::words
                                                                             : LoadFill::random;
  make_groups(options, plan);
  // As PathLoad cuts them.
  plan.file_bytes_per_rank = plan.file_bytes_per_rank / std::ssize(plan.paths) / least_file_bytes *
                             least_file_bytes * std::ssize(plan.paths);
  check_budget(options, plan);
  return plan;
}

}  // namespace spillway::io_bench
