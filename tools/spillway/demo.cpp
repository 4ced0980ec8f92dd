#include "demo.h"

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "compute_threads.h"
#include "demo_report.h"
#include "in_memory_run.h"
#include "model.h"
#include "offloaded_run.h"
#include "process_figures.h"
#include "progress.h"
#include "reference_process.h"
#include "scratch_directory.h"
#include "stop_signals.h"

#include "spillway/error.h"
#include "spillway/log.h"

namespace spillway::demo {
namespace {

// What the process of the in-memory run takes beside its arrays.
constexpr std::int64_t process_bytes = 256 * 1024 * 1024;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Why the in-memory run must be left out; empty if it need not.
std::string no_reference_because(const Options& options, const Model& model) {
  if (!options.reference) return "--no-reference";
  const std::int64_t need = InMemoryRun::bytes(model) + process_bytes;
  const std::int64_t available = tool::available_memory_bytes();
  if (need <= available) return {};
  return fmt::format("it needs {} of memory, and {} are available", bytes_text(need),
                     bytes_text(available));
}

class Demo {
 public:
  Demo(const Options& options, Config config)
      : options_(options),
        model_(make_model(options.model, options.layers)),
        threads_(options.threads > 0 ? options.threads : tool::usable_processors()) {
    OffloadOptimizerConfig& offload = config.offload_optimizer;
    if (offload.device == OffloadDevice::nvme && offload.nvme_path.empty()) {
      scratch_ = std::make_unique<tool::ScratchDirectory>();
      offload.nvme_path = {scratch_->path()};
    }
    report_.config = std::move(config);
    report_.model = model_.name;
    report_.layers = model_.layers;
    report_.whole_layers = model_.whole_layers;
    report_.tensors = static_cast<std::int64_t>(model_.tensors.size());
    report_.params = model_.parameters();
    report_.seed = options.seed;
    report_.steps = options.steps;
    report_.threads = threads_.threads();
    report_.kernel = best_kernel().name;
  }

  const Report& run() {
    note_what_is_unusual();
    // First of all, for it reserves the space: a full disk is told before anything takes long.
    OffloadedRun offloaded(model_, report_.config, options_.seed, threads_);
    run_in_memory();
    run_offloaded(offloaded);
    if (report_.compared()) compare(offloaded);
    progress_.clear();
    return report_;
  }

 private:
  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    progress_.clear();
    fmt::print(stderr, "note: {}\n", fmt::format(format, std::forward<Args>(args)...));
  }

  void note_what_is_unusual() {
    if (model_.truncated())
      note("{} is cut to its first {} of {} layers: {} parameters", model_.name, model_.layers,
           model_.whole_layers, grouped(report_.params));
    if (options_.config_file && report_.config.offload_optimizer.device == OffloadDevice::none &&
        !options_.device)
      note("{} offloads no optimizer state (device none); --device nvme does",
           options_.config_file->string());
  }

  void run_in_memory() {
    report_.in_memory_left_out = no_reference_because(options_, model_);
    if (!report_.in_memory_left_out.empty()) {
      if (options_.reference) note("no run in memory: {}", report_.in_memory_left_out);
      return;
    }
    progress_.begin("in memory", options_.steps);
    ReferenceResult result = run_reference({.model = options_.model,
                                            .layers = options_.layers,
                                            .steps = options_.steps,
                                            .seed = options_.seed,
                                            .threads = threads_.threads()},
                                           [this] { progress_.advance(1); });
    report_.in_memory_step_seconds = std::move(result.step_seconds);
    report_.in_memory_huge_page_share = result.huge_page_share;
    expected_ = std::move(result.hashes);
  }

  void run_offloaded(OffloadedRun& offloaded) {
    const OffloadedRun::OnTile on_tile = [this](std::int64_t elements) { tile_done(elements); };
    progress_.begin("first values", report_.params);
    const auto begin = Clock::now();
    offloaded.set_up(on_tile);
    report_.setup_seconds = seconds_since(begin);

    const OptimizerStats before = offloaded.stats();
    OptimizerStats previous = before;
    for (std::int64_t step = 1; step <= options_.steps; ++step) {
      previous = offloaded.stats();
      progress_.begin(fmt::format("step {} of {}", step, options_.steps), report_.params);
      report_.step_seconds.push_back(offloaded.step(step, on_tile));
    }
    const OptimizerStats after = offloaded.stats();
    report_.bytes_read = after.bytes_read - before.bytes_read;
    report_.bytes_written = after.bytes_written - before.bytes_written;
    report_.stall_read_seconds = after.stall_read_seconds - before.stall_read_seconds;
    report_.stall_write_seconds = after.stall_write_seconds - before.stall_write_seconds;
    report_.stall_buffer_seconds = after.stall_buffer_seconds - before.stall_buffer_seconds;
    report_.compute_seconds = after.compute_seconds - before.compute_seconds;
    report_.checksum_seconds = after.checksum_seconds - before.checksum_seconds;
    const auto params = static_cast<double>(report_.params);
    report_.bytes_read_per_param =
        static_cast<double>(after.bytes_read - previous.bytes_read) / params;
    report_.bytes_written_per_param =
        static_cast<double>(after.bytes_written - previous.bytes_written) / params;
    report_.optimizer = after;
    report_.context = offloaded.context().stats();
    report_.peak_rss_bytes = tool::peak_rss_bytes();
  }

  void compare(OffloadedRun& offloaded) {
    progress_.begin("comparing", report_.params);
    const Hashes hashes = offloaded.hashes([this](std::int64_t elements) { tile_done(elements); });
    report_.difference = first_difference(model_, expected_, hashes);
  }

  void tile_done(std::int64_t elements) {
    // That the step is left early is what was asked for: no news for the log.
    if (tool::StopSignals::received() != 0) set_log_level(LogLevel::error);
    tool::StopSignals::check();
    progress_.advance(elements);
  }

  const Options& options_;
  const Model model_;
  std::unique_ptr<tool::ScratchDirectory> scratch_;  // before what lives in it
  ComputeThreads threads_;
  tool::Progress progress_;
  Hashes expected_;
  Report report_;
};

void print_out(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) == EOF)
    throw Error(Errc::io_error, "the result could not be written to standard output");
}

}  // namespace

int run_demo(const Options& options) {
  const tool::StopSignals signals;
  Demo demo(options, resolve(options));
  const Report& report = demo.run();
  print_out(options.json ? to_json(report) + "\n" : to_table(report));
  if (!report.difference) return 0;
  fmt::print(stderr, "spillway: NOT BIT EXACT: {} of {} differs from the run in memory\n",
             report.difference->state, report.difference->tensor);
  return 1;
}

}  // namespace spillway::demo
