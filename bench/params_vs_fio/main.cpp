// How close to the disk are fetches? For each pair, in turn: fio reading, passes over a model's
// parameters none of which the cache may keep, fio again; then one pass with time to think. Both
// read the same file, the swapper's own: where a file lies on the disk may be worth a tenth.
//
//   ratio = bytes read per second by the passes / by fio
//   over the pool's size = the same, where fio's buffers are together as large as the pool, and
//           over each of --fio-mib
//   stall = share of a pass in fetch() where each unit is used at least as long as fio would read
//           the largest of them
//
// The rate of a pair is the mean of its two runs of fio, which also are the A/A control: how much
// the disk alone moves a ratio within a pair. Medians come with 95 % intervals.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "bench/machine_report.h"
#include "bench/params_options.h"
#include "bench/params_run.h"
#include "bench/params_trace.h"
#include "bench/spread.h"
#include "ceiling.h"
#include "demo_report.h"
#include "model.h"
#include "process_figures.h"
#include "scratch_directory.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::bench {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t element_bytes = 2;

struct Options {
  params::Options work;
  int pairs = 21;
  double seconds = 2.0;  // at least, of each of fio and the passes
  double think = 1.1;    // times the reading of the largest unit
  bool checksums = true;
  std::string fio_engine;
  std::vector<std::int64_t> fio_mib;  // sizes of fio's buffers together, to compare with as well
  bool tiny = false;                  // a test: it runs, and means nothing
  std::string json_file;
};

struct Pair {
  double fio_before = 0, fio_after = 0;  // [bytes per second]
  double fio_wide = 0;                   // with buffers as large as the pool
  std::vector<double> fio_over;          // with buffers as large as each of --fio-mib
  double rate = 0;
  double stall = 0, waiting = 0;  // shares of the passes with thought: in fetch(), for the disk

  double fio_rate() const { return (fio_before + fio_after) / 2; }
  double ratio() const { return rate / fio_rate(); }
  double ratio_wide() const { return rate / fio_wide; }
  double control() const { return fio_after / fio_before; }
};

class Comparison {
 public:
  Comparison(const Options& options, const params::Workload& workload, const Config& config)
      : options_(options),
        workload_(workload),
        run_(workload, config, [] { tool::StopSignals::check(); }),
        pool_bytes_(config.offload_param.buffer_count * config.offload_param.buffer_size) {
    std::mt19937_64 random(1);
    pass_ = params::build_pass(params::Trace::cyclic, workload, random);
    pass_.updates.clear();
    for (const params::Unit& unit : workload.units)
      largest_bytes_ = std::max(largest_bytes_, unit.elements * element_bytes);
    run_.set_up();
    for (int i = 0; i < 2; ++i) run_.pass("train", pass_, {});  // learns the order
    fio_.emplace(run_.context_stats().paths.front().data_file, workload.total * element_bytes,
                 LoadPattern::read, options.seconds, options.fio_engine, options.tiny);
  }

  Pair measure() {
    Pair pair;
    pair.fio_before = fio_->rate();
    const params::PassFigures read = passes({});
    pair.rate = static_cast<double>(read.bytes_read) / read.seconds;
    pair.fio_wide = fio_->rate_over(pool_bytes_);
    for (const std::int64_t mib : options_.fio_mib)
      pair.fio_over.push_back(fio_->rate_over(mib * 1024 * 1024));
    pair.fio_after = fio_->rate();
    const double seconds = options_.think * static_cast<double>(largest_bytes_) / pair.fio_rate();
    const params::PassFigures thought =
        passes(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9)));
    pair.stall = thought.fetch_seconds / thought.seconds;
    pair.waiting = thought.stall_seconds / thought.seconds;
    return pair;
  }

  const params::ParamsRun& run() const { return run_; }
  const FioCeiling& fio() const { return *fio_; }

 private:
  // Whole passes, for as long as was asked for.
  params::PassFigures passes(std::chrono::nanoseconds think) {
    params::PassFigures sum;
    while (sum.seconds < options_.seconds) {
      const params::PassFigures one = run_.pass("train", pass_, think);
      sum.seconds += one.seconds;
      sum.fetch_seconds += one.fetch_seconds;
      sum.stall_seconds += one.stall_seconds;
      sum.bytes_read += one.bytes_read;
    }
    return sum;
  }

  const Options& options_;
  const params::Workload& workload_;
  params::ParamsRun run_;
  params::Pass pass_;
  std::optional<FioCeiling> fio_;
  std::int64_t pool_bytes_ = 0;
  std::int64_t largest_bytes_ = 0;
};

template <typename Value>
tool::Spread over(const std::vector<Pair>& pairs, Value value) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(value(pair));
  return tool::spread_of(std::move(values));
}

// Beside fio with buffers of `mib` together.
struct Beside {
  std::int64_t mib = 0;
  tool::Spread fio_rate, ratio;
};

struct Summary {
  tool::Spread ratio, ratio_wide, control, rate, fio_rate, fio_wide, stall, waiting;
  std::vector<Beside> besides;
};

std::vector<Beside> besides(const Options& options, const std::vector<Pair>& pairs) {
  std::vector<Beside> found;
  for (std::size_t i = 0; i < options.fio_mib.size(); ++i)
    found.push_back({.mib = options.fio_mib[i],
                     .fio_rate = over(pairs, [i](const Pair& p) { return p.fio_over[i] / 1e9; }),
                     .ratio = over(pairs, [i](const Pair& p) { return p.rate / p.fio_over[i]; })});
  return found;
}

Summary summarise(const Options& options, const std::vector<Pair>& pairs) {
  return {.ratio = over(pairs, [](const Pair& p) { return p.ratio(); }),
          .ratio_wide = over(pairs, [](const Pair& p) { return p.ratio_wide(); }),
          .control = over(pairs, [](const Pair& p) { return p.control(); }),
          .rate = over(pairs, [](const Pair& p) { return p.rate / 1e9; }),
          .fio_rate = over(pairs, [](const Pair& p) { return p.fio_rate() / 1e9; }),
          .fio_wide = over(pairs, [](const Pair& p) { return p.fio_wide / 1e9; }),
          .stall = over(pairs, [](const Pair& p) { return 100 * p.stall; }),
          .waiting = over(pairs, [](const Pair& p) { return 100 * p.waiting; }),
          .besides = besides(options, pairs)};
}

void print_summary(const Summary& summary, std::size_t pairs) {
  const auto row = [](std::string_view name, const tool::Spread& interval, std::string_view unit) {
    fmt::print("  {:<36}{:.3f}  [{:.3f}, {:.3f}] {}\n", name, interval.median, interval.low,
               interval.high, unit);
  };
  fmt::print("medians of {} pairs, with their {}\n", pairs,
             pairs < tool::least_values ? "ranges (too few for an interval)" : "95 % intervals");
  row("fetches, without thinking", summary.rate, "GB/s");
  row("fio, reading into 8 MiB", summary.fio_rate, "GB/s");
  row("fio, reading over the pool's size", summary.fio_wide, "GB/s");
  row("fetches / fio, 8 MiB", summary.ratio, "");
  row("fetches / fio, the pool's size", summary.ratio_wide, "");
  for (const Beside& beside : summary.besides) {
    row(fmt::format("fio, reading into {} MiB", beside.mib), beside.fio_rate, "GB/s");
    row(fmt::format("fetches / fio, {} MiB", beside.mib), beside.ratio, "");
  }
  row("A/A control, fio / fio", summary.control, "");
  row("in fetch(), with thinking", summary.stall, "% of the pass");
  row("of that waiting for the disk", summary.waiting, "% of the pass");
}

void write_json(const std::string& file, const Options& options, const Summary& summary,
                const tool::MachineReport& machine, bool huge_pages,
                const std::vector<Pair>& pairs) {
  ordered_json out;
  out["machine"] = tool::to_json(machine);
  out["model"] = options.work.model;
  out["fio_huge_pages"] = huge_pages;
  out["checksums"] = options.checksums;
  out["ratio"] = tool::to_json(summary.ratio);
  out["ratio_over_pool_size"] = tool::to_json(summary.ratio_wide);
  out["control"] = tool::to_json(summary.control);
  out["gb_per_second"] = tool::to_json(summary.rate);
  out["fio_gb_per_second"] = tool::to_json(summary.fio_rate);
  out["fio_gb_per_second_over_pool_size"] = tool::to_json(summary.fio_wide);
  out["stall_percent"] = tool::to_json(summary.stall);
  out["waiting_percent"] = tool::to_json(summary.waiting);
  out["fio_over"] = ordered_json::array();
  for (const Beside& beside : summary.besides)
    out["fio_over"].push_back({{"mib", beside.mib},
                               {"gb_per_second", tool::to_json(beside.fio_rate)},
                               {"ratio", tool::to_json(beside.ratio)}});
  out["pairs"] = ordered_json::array();
  for (const Pair& pair : pairs)
    out["pairs"].push_back({{"fio_before", pair.fio_before},
                            {"fio_after", pair.fio_after},
                            {"fio_over_pool_size", pair.fio_wide},
                            {"fio_over", pair.fio_over},
                            {"bytes_per_second", pair.rate},
                            {"ratio", pair.ratio()},
                            {"stall", pair.stall},
                            {"waiting", pair.waiting}});
  std::ofstream stream(file);
  stream << out.dump(2) << "\n";
  if (!stream.flush()) throw Error(Errc::io_error, fmt::format("{} could not be written", file));
}

int run(const Options& options) {
  const tool::StopSignals signals;
  const demo::Model model = demo::make_model(options.work.model, options.work.layers);
  const params::Workload workload = params::make_workload(model);
  Config config = params::resolve(options.work);
  OffloadParamConfig& offload = config.offload_param;
  const tool::ScratchDirectory scratch(offload.nvme_path.empty() ? std::filesystem::current_path()
                                                                 : offload.nvme_path.front());
  offload.nvme_path = {scratch.path()};
  offload.max_in_cpu = 0;  // nothing is kept, all is read
  config.io.checksums = options.checksums;
  std::mt19937_64 random(1);
  if (offload.buffer_count == 0)
    params::choose_pool(
        offload,
        params::widest_pair(workload, params::build_pass(params::Trace::cyclic, workload, random)) *
            element_bytes);

  Comparison comparison(options, workload, config);
  const FioCeiling& fio = comparison.fio();
  const tool::MachineReport machine = tool::look_at_machine({scratch.path()});
  const ParameterStats stats = comparison.run().stats();
  fmt::print(
      "{}{}, {} parameters (bf16, {}) in {} units; pool {} x {}, {:.0f} % in huge pages\n"
      "engine {}, checksums {}; {} with {} and {} pages\n",
      tool::to_text(machine), model.name, demo::grouped(workload.total),
      demo::bytes_text(workload.total * element_bytes), workload.units.size(), offload.buffer_count,
      demo::bytes_text(offload.buffer_size), 100 * stats.memory.huge_page_share,
      comparison.run().context_stats().engine, options.checksums ? "on" : "off",
      tool::Fio::version(), fio.engine(), fio.huge_pages() ? "2 MiB" : "4 KiB");
  comparison.measure();  // warm-up
  std::vector<Pair> pairs;
  while (std::ssize(pairs) < options.pairs) {
    const Pair& pair = pairs.emplace_back(comparison.measure());
    fmt::print(stderr,
               "pair {:2}: fetches {:.2f} GB/s, fio {:.2f} and {:.2f} GB/s, ratio {:.3f}; over the "
               "pool's size {:.2f} GB/s, ratio {:.3f}; with thinking {:.2f} % in fetch, {:.2f} % "
               "waiting\n",
               pairs.size(), pair.rate / 1e9, pair.fio_before / 1e9, pair.fio_after / 1e9,
               pair.ratio(), pair.fio_wide / 1e9, pair.ratio_wide(), 100 * pair.stall,
               100 * pair.waiting);
  }
  const Summary summary = summarise(options, pairs);
  print_summary(summary, pairs.size());
  if (!options.json_file.empty())
    write_json(options.json_file, options, summary, machine, fio.huge_pages(), pairs);
  return 0;
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--pairs", options.pairs, "Pairs of fio and passes")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "At least, of each")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  app.add_option("--model", options.work.model, "As for `spillway bench params`")
      ->capture_default_str();
  app.add_option("--layers", options.work.layers, "Only the first N layers");
  app.add_option("--think", options.think, "Times the reading of the largest unit, per unit")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--config", options.work.config_file, "Pool and I/O settings, from a file");
  app.add_option("--nvme-path", options.work.nvme_path, "Where to measure (default: here)");
  app.add_flag_callback("--no-checksums", [&options] { options.checksums = false; });
  app.add_option("--fio-engine", options.fio_engine, "io_uring (the default) or libaio");
  app.add_option("--fio-mib", options.fio_mib,
                 "Compare with fio reading into so many MiB as well: 12,16,32")
      ->delimiter(',')
      ->check(CLI::Range(8, 1024));
  app.add_option("--json", options.json_file, "Also write everything to this file");
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  using namespace spillway;
  bench::Options options;
  options.work.model = "gpt2-medium";
  if (const char* tiny = ::getenv("SPILLWAY_BENCH_TINY"); tiny != nullptr && *tiny == '1') {
    options.tiny = true;
    options.work.model = "tiny";
    options.pairs = 3;
    options.seconds = 0.05;
  }
  CLI::App app("Fetches that must read, against fio on the same file system", "params_vs_fio");
  bench::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  if (tool::Fio::version().empty()) {
    fmt::print("SKIPPED: fio is not installed\n");
    return 0;
  }
  try {
    return bench::run(options);
  } catch (const tool::Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const std::exception& error) {
    fmt::print(stderr, "params_vs_fio: {}\n", error.what());
    return 1;
  }
}
