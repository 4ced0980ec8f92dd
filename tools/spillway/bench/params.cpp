#include "bench/params.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "bench/disks.h"
#include "bench/params_report.h"
#include "bench/params_run.h"
#include "bench/params_trace.h"
#include "bench/promised_file.h"
#include "model.h"
#include "progress.h"
#include "scratch_directory.h"
#include "stop_signals.h"

#include "spillway/cache_reference.h"
#include "spillway/error.h"
#include "spillway/log.h"

namespace spillway::params {
namespace {

constexpr std::uint64_t seed = 1;
constexpr std::int64_t element_bytes = 2;

class Bench {
 public:
  Bench(const Options& options, Config config)
      : think_(static_cast<std::int64_t>(options.think_ms * 1e6)) {
    const demo::Model model = demo::make_model(options.model, options.layers);
    workload_ = make_workload(model);
    report_.trace = trace_named(options.trace);
    std::mt19937_64 random(seed);
    std::int64_t pair = 0;
    for (std::int64_t i = 0; i < options.passes; ++i) {
      passes_.push_back(build_pass(report_.trace, workload_, random));
      pair = std::max(pair, widest_pair(workload_, passes_.back()));
    }
    OffloadParamConfig& offload = config.offload_param;
    if (offload.buffer_count == 0) choose_pool(offload, pair * element_bytes);
    std::vector<std::string> caps = options.caps;
    if (caps.empty() && options.config_file)
      caps_.push_back({fmt::format("{}", offload.max_in_cpu), offload.max_in_cpu});
    else if (caps.empty())
      caps = {"0", "25%", "50%", "100%"};
    for (const std::string& cap : caps) caps_.push_back(parse_cap(cap, workload_.total));
    if (offload.nvme_path.empty()) {
      scratch_ = std::make_unique<tool::ScratchDirectory>();
      offload.nvme_path = {scratch_->path()};
    }
    report_.machine = tool::look_at_machine(offload.nvme_path);
    report_.model = model.name;
    report_.layers = model.layers;
    report_.whole_layers = model.whole_layers;
    report_.tensors = static_cast<std::int64_t>(workload_.tensors.size());
    report_.units = static_cast<std::int64_t>(workload_.units.size());
    report_.params = workload_.total;
    report_.bytes = workload_.total * element_bytes;
    report_.warnings = tool::warnings_of(report_.machine, report_.bytes);
    report_.think_ms = options.think_ms;
    report_.passes = options.passes;
    report_.config = std::move(config);
  }

  const Report& run() {
    tool::say(report_.warnings);
    tool::require_space(report_.machine.places, report_.bytes, "the parameters");
    if (report_.layers < report_.whole_layers)
      fmt::print(stderr, "note: {} is cut to its first {} of {} layers: {} parameters\n",
                 report_.model, report_.layers, report_.whole_layers, report_.params);
    for (const Cap& cap : caps_) run_at(cap);
    progress_.clear();
    return report_;
  }

 private:
  void run_at(const Cap& cap) {
    report_.config.offload_param.max_in_cpu = cap.elements;
    ParamsRun run(workload_, report_.config, [this] { keep_going(); });
    progress_.begin(fmt::format("cap {}, first values", cap.text), 1);
    run.set_up();

    std::vector<std::uint32_t> trace;
    std::vector<std::size_t> ends;
    for (const Pass& pass : passes_) {
      const auto more = accesses(workload_, pass);
      trace.insert(trace.end(), more.begin(), more.end());
      ends.push_back(trace.size());
    }
    const auto lru = lru_hits(trace, workload_.elements, cap.elements);
    const auto belady = belady_hits(trace, workload_.elements, cap.elements);

    progress_.begin(fmt::format("cap {}", cap.text), std::ssize(passes_));
    for (std::size_t i = 0; i < passes_.size(); ++i) {
      const std::size_t from = i == 0 ? 0 : ends[i - 1];
      Result& result = report_.results.emplace_back();
      result.cap = cap;
      result.pass = static_cast<std::int64_t>(i) + 1;
      result.figures = run.pass("train", passes_[i], think_);
      result.lru_hit_rate = hit_rate(lru, trace, workload_.elements, from, ends[i]);
      result.belady_hit_rate = hit_rate(belady, trace, workload_.elements, from, ends[i]);
      const ParameterStats stats = run.stats();
      result.peak_cached_elements = stats.peak_cached_elements;
      result.peak_cached_bytes = stats.peak_cached_bytes;
      result.peak_pool_bytes = stats.peak_pool_bytes;
      report_.memory = stats.memory;
      progress_.advance(1);
    }
    report_.context = run.context_stats();
  }

  static void keep_going() {
    // That a pass is left early is what was asked for: no news for the log.
    if (tool::StopSignals::received() != 0) set_log_level(LogLevel::error);
    tool::StopSignals::check();
  }

  const std::chrono::nanoseconds think_;
  Workload workload_;
  std::vector<Pass> passes_;
  std::vector<Cap> caps_;
  std::unique_ptr<tool::ScratchDirectory> scratch_;  // before what lives in it
  tool::Progress progress_;
  Report report_;
};

void print_out(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) == EOF)
    throw Error(Errc::io_error, "the result could not be written to standard output");
}

}  // namespace

int run_params(const Options& options) {
  if (!(options.think_ms >= 0 && options.think_ms <= 1e6))  // NaN is neither
    throw Error(Errc::invalid_argument,
                fmt::format("--think-ms {}: from 0 to 1000000", options.think_ms));
  const tool::StopSignals signals;
  std::optional<tool::PromisedFile> json_file;
  if (options.json && *options.json != "-") json_file.emplace(*options.json);
  Bench bench(options, resolve(options));
  const Report& report = bench.run();
  if (json_file) json_file->write(to_json(report) + "\n");
  print_out(options.json && !json_file ? to_json(report) + "\n" : to_table(report));
  return 0;
}

}  // namespace spillway::params
