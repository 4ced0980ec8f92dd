// How close to the disk is a step? For each pair, in turn: fio with mixed reads and writes, steps
// of AdamW whose state lies in the same file, fio again, steps of the same in memory. One file,
// for two of one disk may differ by a tenth; so the state is written anew before the steps, and
// before fio as well, for a disk may remember what it was given just before.
//
//   bound = max(bytes of a step / rate of fio, seconds of a step in memory)
//   ratio = seconds of a step / bound
//
// The rate of a pair is the mean of its two runs of fio, which also are the A/A control: how much
// the disk alone moves a ratio within a pair. Medians come with 95 % intervals.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/spread.h"
#include "ceiling.h"
#include "demo_options.h"
#include "demo_report.h"
#include "in_memory_run.h"
#include "model.h"
#include "offloaded_run.h"
#include "process_figures.h"
#include "scratch_directory.h"
#include "stop_signals.h"

#include "spillway/error.h"
#include "spillway/path_load.h"

namespace spillway::bench {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options {
  demo::Options work;
  int pairs = 21;
  double seconds = 2.0;  // at least, of each of fio and the steps
  std::string fio_engine;
  bool tiny = false;  // a test: it runs, and means nothing
  std::string json_file;
};

struct Pair {
  double fio_before = 0, fio_after = 0;  // [bytes per second]
  double step_seconds = 0, in_memory_seconds = 0;
  std::int64_t step_bytes = 0;

  double fio_rate() const { return (fio_before + fio_after) / 2; }
  double bound() const {
    return std::max(static_cast<double>(step_bytes) / fio_rate(), in_memory_seconds);
  }
  double ratio() const { return step_seconds / bound(); }
  double control() const { return fio_after / fio_before; }
};

// Calls step(number) until `seconds` have passed, at least once; the mean seconds of one.
template <typename Step>
double mean_step(double seconds, Step step) {
  const auto begin = Clock::now();
  int steps = 0;
  double elapsed = 0;
  do {
    tool::StopSignals::check();
    step();
    ++steps;
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (elapsed < seconds);
  return elapsed / steps;
}

class Comparison {
 public:
  Comparison(const Options& options, const demo::Model& model, const Config& config,
             demo::ComputeThreads& threads)
      : seconds_(options.seconds),
        offloaded_(model, config, options.work.seed, threads),
        in_memory_(model, options.work.seed, threads) {
    offloaded_.set_up(keep_going);
    const PathStats file = offloaded_.context().stats().paths.front();
    fio_.emplace(file.data_file, file.allocated_bytes, LoadPattern::mixed, options.seconds,
                 options.fio_engine, options.tiny);
  }

  Pair measure() {
    Pair pair;
    pair.fio_before = fio_rate();
    offloaded_.start_again(keep_going);
    const OptimizerStats before = offloaded_.stats();
    const std::int64_t first = offloaded_steps_;
    pair.step_seconds =
        mean_step(seconds_, [&] { offloaded_.step(++offloaded_steps_, keep_going); });
    const OptimizerStats after = offloaded_.stats();
    pair.step_bytes =
        (after.bytes_read + after.bytes_written - before.bytes_read - before.bytes_written) /
        (offloaded_steps_ - first);
    pair.fio_after = fio_rate();
    pair.in_memory_seconds = mean_step(seconds_ / 4, [&] { in_memory_.step(++in_memory_steps_); });
    return pair;
  }

  const demo::OffloadedRun& offloaded() const { return offloaded_; }
  const FioCeiling& fio() const { return *fio_; }

 private:
  double fio_rate() {
    offloaded_.start_again(keep_going);
    return fio_->rate();
  }
  static void keep_going(std::int64_t) { tool::StopSignals::check(); }

  double seconds_;
  demo::OffloadedRun offloaded_;
  demo::InMemoryRun in_memory_;
  std::optional<FioCeiling> fio_;
  std::int64_t offloaded_steps_ = 0, in_memory_steps_ = 0;
};

std::string first_line(const char* file, std::string_view begins) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with(begins)) {
      const std::size_t colon = line.find(": ");
      return colon == std::string::npos ? line : line.substr(colon + 2);
    }
  return "?";
}

std::string machine_line(const ContextStats& context) {
  utsname kernel{};
  ::uname(&kernel);
  return fmt::format("{}, {} processors, {} of memory, Linux {}, {} on {}, {}, g++ {}{}",
                     first_line("/proc/cpuinfo", "model name"), tool::usable_processors(),
                     demo::bytes_text(tool::proc_bytes("/proc/meminfo", "MemTotal")),
                     kernel.release, context.paths.empty() ? "?" : context.paths[0].file_system,
                     context.paths.empty() ? "?" : context.paths[0].path, tool::Fio::version(),
                     __VERSION__,
#ifdef __OPTIMIZE__
                     ""
#else
                     ", NOT OPTIMIZED: these figures mean nothing"
#endif
  );
}

template <typename Value>
tool::Spread over(const std::vector<Pair>& pairs, Value value) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(value(pair));
  return tool::spread_of(std::move(values));
}

struct Summary {
  tool::Spread ratio, control, step, in_memory, fio_rate, bound;
};

Summary summarise(const std::vector<Pair>& pairs) {
  return {.ratio = over(pairs, [](const Pair& p) { return p.ratio(); }),
          .control = over(pairs, [](const Pair& p) { return p.control(); }),
          .step = over(pairs, [](const Pair& p) { return p.step_seconds; }),
          .in_memory = over(pairs, [](const Pair& p) { return p.in_memory_seconds; }),
          .fio_rate = over(pairs, [](const Pair& p) { return p.fio_rate() / 1e9; }),
          .bound = over(pairs, [](const Pair& p) { return p.bound(); })};
}

void print_summary(const Summary& summary, const OptimizerStats& stats,
                   const std::vector<Pair>& pairs) {
  const auto row = [](std::string_view name, const tool::Spread& interval, std::string_view unit) {
    fmt::print("  {:<28}{:.3f}  [{:.3f}, {:.3f}] {}\n", name, interval.median, interval.low,
               interval.high, unit);
  };
  fmt::print(
      "medians of {} pairs, with their {}\n", pairs.size(),
      pairs.size() < tool::least_values ? "ranges (too few for an interval)" : "95 % intervals");
  row("step", summary.step, "s");
  row("step in memory", summary.in_memory, "s");
  row("fio, mixed", summary.fio_rate, "GB/s");
  row("bound", summary.bound, "s");
  row("step / bound", summary.ratio, "");
  row("A/A control, fio / fio", summary.control, "");
  fmt::print("  {:<28}{:.2f} bytes per parameter, {} buffers of {}, {:.0f} % in huge pages\n",
             "a step moves",
             static_cast<double>(pairs.back().step_bytes) / static_cast<double>(stats.elements),
             stats.buffers, demo::bytes_text(stats.tile_bytes), 100 * stats.memory.huge_page_share);
}

void write_json(const std::string& file, const Options& options, const Summary& summary,
                const Comparison& comparison, const std::string& machine, bool huge_pages,
                const std::vector<Pair>& pairs) {
  const OptimizerStats stats = comparison.offloaded().stats();
  ordered_json out;
  out["machine"] = machine;
  out["model"] = options.work.model;
  out["params"] = stats.elements;
  out["engine"] = comparison.offloaded().context().stats().engine;
  out["buffers"] = stats.buffers;
  out["tile_bytes"] = stats.tile_bytes;
  out["fio_huge_pages"] = huge_pages;
  out["ratio"] = tool::to_json(summary.ratio);
  out["control"] = tool::to_json(summary.control);
  out["step_seconds"] = tool::to_json(summary.step);
  out["in_memory_seconds"] = tool::to_json(summary.in_memory);
  out["fio_gb_per_second"] = tool::to_json(summary.fio_rate);
  out["bound_seconds"] = tool::to_json(summary.bound);
  out["pairs"] = ordered_json::array();
  for (const Pair& pair : pairs)
    out["pairs"].push_back({{"fio_before", pair.fio_before},
                            {"fio_after", pair.fio_after},
                            {"step_seconds", pair.step_seconds},
                            {"step_bytes", pair.step_bytes},
                            {"in_memory_seconds", pair.in_memory_seconds},
                            {"ratio", pair.ratio()}});
  std::ofstream stream(file);
  stream << out.dump(2) << "\n";
  if (!stream.flush()) throw Error(Errc::io_error, fmt::format("{} could not be written", file));
}

int run(Options options) {
  const tool::StopSignals signals;
  const demo::Model model = demo::make_model(options.work.model, options.work.layers);
  Config config = demo::resolve(options.work);
  OffloadOptimizerConfig& offload = config.offload_optimizer;
  const tool::ScratchDirectory scratch(offload.nvme_path.empty() ? std::filesystem::current_path()
                                                                 : offload.nvme_path.front());
  offload.nvme_path = {scratch.path()};
  demo::ComputeThreads threads(options.work.threads > 0 ? options.work.threads
                                                        : tool::usable_processors());

  Comparison comparison(options, model, config, threads);
  const std::string machine = machine_line(comparison.offloaded().context().stats());
  fmt::print("{}\n{}, {} parameters, {} of state; engine {}, fio with {} and {} pages\n", machine,
             model.name, demo::grouped(model.parameters()),
             demo::bytes_text(12 * model.parameters()),
             comparison.offloaded().context().stats().engine,
             options.fio_engine.empty() ? "io_uring" : options.fio_engine,
             comparison.fio().huge_pages() ? "2 MiB" : "4 KiB");
  comparison.measure();  // warm-up
  std::vector<Pair> pairs;
  while (std::ssize(pairs) < options.pairs) {
    const Pair& pair = pairs.emplace_back(comparison.measure());
    fmt::print(stderr,
               "pair {:2}: step {:.3f} s, in memory {:.3f} s, fio {:.2f} and {:.2f} GB/s, ratio "
               "{:.3f}\n",
               pairs.size(), pair.step_seconds, pair.in_memory_seconds, pair.fio_before / 1e9,
               pair.fio_after / 1e9, pair.ratio());
  }
  const Summary summary = summarise(pairs);
  print_summary(summary, comparison.offloaded().stats(), pairs);
  if (!options.json_file.empty())
    write_json(options.json_file, options, summary, comparison, machine,
               comparison.fio().huge_pages(), pairs);
  return 0;
}

// The arrays of the in-memory steps lie in huge pages only if malloc knew it from the start.
void start_again_with_huge_pages(char** argv) {
  const std::string setting = demo::InMemoryRun::huge_page_setting;
  const std::size_t equals = setting.find('=');
  const std::string name = setting.substr(0, equals);
  if (::getenv(name.c_str()) != nullptr) return;  // by us, or on purpose
  ::setenv(name.c_str(), setting.substr(equals + 1).c_str(), 1);
  ::execv("/proc/self/exe", argv);
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--pairs", options.pairs, "Pairs of fio and step")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "At least, of each")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  app.add_option("--model", options.work.model, "As for `spillway demo`")->capture_default_str();
  app.add_option("--layers", options.work.layers, "Only the first N layers");
  app.add_option("--threads", options.work.threads, "Compute threads (0: one per processor)");
  app.add_option("--config", options.work.config_file, "Settings that no flag names, from a file");
  app.add_option("--nvme-path", options.work.nvme_path, "Where to measure (default: here)")
      ->expected(1);
  app.add_option("--buffer-count", options.work.buffer_count, "Tiles in flight");
  app.add_option("--tile-bytes", options.work.tile_bytes, "Size of a tile");
  app.add_option("--engine", options.work.engine, "auto, io_uring or threads")
      ->check(CLI::IsMember({"auto", "io_uring", "threads"}));
  app.add_flag_callback("--no-checksums", [&options] { options.work.checksums = false; });
  app.add_option("--fio-engine", options.fio_engine, "io_uring (the default) or libaio");
  app.add_option("--json", options.json_file, "Also write everything to this file");
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  using namespace spillway;
  bench::start_again_with_huge_pages(argv);
  bench::Options options;
  options.work.model = "gpt2-medium";
  if (const char* tiny = ::getenv("SPILLWAY_BENCH_TINY"); tiny != nullptr && *tiny == '1') {
    options.tiny = true;
    options.work.model = "tiny";
    options.work.tile_bytes = "256KiB";
    options.pairs = 3;
    options.seconds = 0.05;
  }
  CLI::App app("A step whose state is on disk, against fio on the same file", "step_vs_fio");
  bench::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  if (tool::Fio::version().empty()) {
    fmt::print("SKIPPED: fio is not installed\n");
    return 0;
  }
  try {
    return bench::run(std::move(options));
  } catch (const tool::Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const std::exception& error) {
    fmt::print(stderr, "step_vs_fio: {}\n", error.what());
    return 1;
  }
}
