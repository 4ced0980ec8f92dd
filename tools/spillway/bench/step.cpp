#include "bench/step.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bench/disks.h"
#include "bench/promised_file.h"
#include "bench/step_ceiling.h"
#include "bench/step_ranks.h"
#include "bench/step_report.h"
#include "bench/trace.h"
#include "in_memory_run.h"
#include "process_figures.h"
#include "progress.h"
#include "scratch_directory.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::steps {
namespace {

constexpr std::int64_t MiB = 1024 * 1024;
constexpr std::int64_t state_width = 12;       // [bytes] of an element
constexpr std::size_t most_spans = 4'000'000;  // of one step: some 160 MiB

// A file of the ceiling is as large as the state, within these.
constexpr std::int64_t least_file = 16 * MiB, most_file = 1024 * MiB;

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        variants_(variants_of(options)),
        model_(demo::make_model(options.model, options.layers)),
        work_(work_of(options)),
        threads_(options.threads > 0 ? options.threads : tool::usable_processors()) {
    std::vector<std::filesystem::path> paths = variants_.front().config.offload_optimizer.nvme_path;
    if (paths.empty()) {
      scratch_ = std::make_unique<tool::ScratchDirectory>();
      paths = {scratch_->path()};
      for (Variant& variant : variants_) variant.config.offload_optimizer.nvme_path = paths;
    }
    if (options.trace && options.ranks > 1)
      throw Error(Errc::invalid_argument, "--trace shows one rank: leave --ranks out");
    report_.machine = tool::look_at_machine(paths);
    disks_.emplace(report_.machine.places);
    report_.params = model_.parameters();
    report_.warnings = tool::warnings_of(report_.machine, state_width * report_.params);
    report_.model = model_.name;
    report_.layers = model_.layers;
    report_.whole_layers = model_.whole_layers;
    report_.compute = options.compute;
    report_.kernel = demo::best_kernel().name;
    report_.repeat = options.repeat;
    report_.threads = threads_.threads();
    report_.ranks = options.ranks;
    report_.rounds = options.rounds;
    report_.seconds = options.seconds;
    tool::say(report_.warnings);
    require_space();
    set_up(paths);
  }

  const Report& run() {
    const auto turns = static_cast<std::int64_t>(runs_.size());
    progress_.begin("measuring", options_.rounds * turns);
    for (int round = 0; round < options_.rounds; ++round) measure(round);
    for (std::size_t v = 0; v < runs_.size(); ++v) report_.results[v].house = runs_[v]->house();
    report_.ceiling = ceiling_->source();
    // One rank's, in words that mean the same elsewhere.
    report_.paths = runs_.front()->paths();
    report_.paths.resize(std::min(report_.paths.size(), report_.machine.places.size()));
    for (std::size_t i = 0; i < report_.paths.size(); ++i)
      report_.paths[i].path = report_.machine.places[i].path;
    progress_.clear();
    return report_;
  }

  // One more step of each variant.
  std::string trace() {
    tool::Trace trace;
    for (std::size_t v = 0; v < runs_.size(); ++v) {
      make_whole(v);
      const auto timeline = std::make_shared<Timeline>(most_spans);
      auto& run = dynamic_cast<StepRun&>(*runs_[v]);
      run.record(timeline);
      run.steps(1);
      run.record(nullptr);
      const std::int64_t dropped = timeline->dropped();
      trace.add(report_.results[v].variant.text(), timeline->take(), dropped);
    }
    return trace.to_json() + "\n";
  }

 private:
  // Of a variant, between its turns.
  struct State {
    double step_seconds = 0;  // as the last ones took
    bool whole = false;       // nobody wrote over it
  };

  std::int64_t ceiling_bytes() const {
    return std::clamp(state_width * report_.params, least_file, most_file);
  }

  void require_space() const {
    const bool own_files = options_.ceiling != "none" && !Ceiling::is_of_fio(options_.ceiling);
    auto bytes = static_cast<double>(own_files ? ceiling_bytes() : 0);
    for (const Variant& variant : variants_)
      bytes += variant.config.offload_optimizer.ratio *
               static_cast<double>(state_width * report_.params);
    tool::require_space(report_.machine.places, std::llround(bytes),
                        fmt::format("the state of {} variants", variants_.size()));
  }

  // Everything is there before anything is timed, and has been through one step.
  void set_up(const std::vector<std::filesystem::path>& paths) {
    progress_.begin("first values", static_cast<std::int64_t>(variants_.size()) + 2);
    for (const Variant& variant : variants_) {
      Stepper& run = *runs_.emplace_back(make_run(variant));
      states_.push_back({.step_seconds = run.steps(1).seconds, .whole = true});
      report_.results.push_back({.variant = variant, .turns = {}, .house = {}});
      progress_.advance(1);
    }
    const LoadFill fill = work_.kind == demo::WorkKind::adamw ? LoadFill::random : LoadFill::words;
    ceiling_ = std::make_unique<Ceiling>(options_.ceiling, paths, ceiling_bytes(), fill,
                                         variants_.front().config.io);
    progress_.advance(1);
    // Space that was allocated and never written costs a first run of fio less, or more.
    if (ceiling_->overwrites())
      for (std::size_t v = 0; v < runs_.size(); ++v) ceiling_of(v);
    progress_.clear();
    if (!ceiling_->doubt().empty()) tool::say({report_.warnings.emplace_back(ceiling_->doubt())});
    set_up_memory();
    progress_.advance(1);
  }

  std::unique_ptr<Stepper> make_run(const Variant& variant) {
    if (options_.ranks > 1)
      return std::make_unique<RankedRun>(options_, variant.config, threads_.threads());
    return std::make_unique<StepRun>(model_, variant.config, work_, threads_);
  }

  // The ceiling may have written over it.
  void make_whole(std::size_t v) {
    if (states_[v].whole) return;
    runs_[v]->start_again();
    // First masters are drawn; what a fast device is to store for free comes with a step.
    if (work_.kind == demo::WorkKind::fill) runs_[v]->steps(1);
    states_[v].whole = true;
  }

  // As many steps as fill a turn, by what the last ones took.
  void take_steps(std::size_t v, Turn& turn) {
    make_whole(v);
    double& seconds = states_[v].step_seconds;
    const double wanted = std::ceil(options_.seconds / std::max(seconds, 1e-6));
    const auto count = static_cast<std::int64_t>(std::clamp(wanted, 1.0, 1e6));
    const auto before = disks_->counters();
    turn.step = runs_[v]->steps(count);
    turn.moved = disks_->moved_since(before);
    turn.bytes_read = std::llround(turn.step.bytes_read * static_cast<double>(count));
    turn.bytes_written = std::llround(turn.step.bytes_written * static_cast<double>(count));
    seconds = turn.step.seconds;
  }

  // The same compute on plain arrays; of a model that is too large for that, a part.
  void set_up_memory() {
    if (work_.kind == demo::WorkKind::none) return;
    memory_model_ = cut_model(
        model_, std::min(state_width * report_.params, tool::available_memory_bytes() / 4));
    report_.in_memory_share =
        static_cast<double>(memory_model_.parameters()) / static_cast<double>(report_.params);
    memory_ = std::make_unique<demo::InMemoryRun>(memory_model_, 1, threads_, work_);
    memory_seconds();
  }

  double memory_seconds() {
    if (!memory_) return 0;
    double elapsed = 0;
    int steps = 0;
    do {
      tool::StopSignals::check();
      elapsed += memory_->step(++memory_step_);
      ++steps;
    } while (elapsed < options_.seconds / 4);
    return elapsed / steps / report_.in_memory_share;
  }

  // Of one measurement.
  struct CeilingRate {
    std::optional<double> rate;
    std::string doubt;
  };

  CeilingRate ceiling_of(std::size_t v) {
    if (!ceiling_->measured()) return {};
    const auto before = disks_->counters();
    const auto run = ceiling_->measure(runs_[v]->paths(), std::max(options_.seconds, 0.05));
    if (!run) return {};
    if (ceiling_->overwrites()) states_[v].whole = false;
    return {run->rate,
            tool::above_counters(run->read_bytes, run->written_bytes, disks_->moved_since(before))};
  }

  // The ceiling before and after each turn, for disks change their speed; another variant is first
  // in each round. What was measured after a turn serves the next one too, on the same files.
  void measure(int round) {
    const double in_memory = memory_seconds();
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      const std::size_t v = (static_cast<std::size_t>(round) + i) % runs_.size();
      const bool same_files = !ceiling_->overwrites() || last_ == v;
      const CeilingRate before = last_ && same_files ? last_ceiling_ : ceiling_of(v);
      Turn& turn = report_.results[v].turns.emplace_back();
      take_steps(v, turn);
      turn.in_memory_seconds = in_memory;
      last_ceiling_ = ceiling_of(v);
      last_ = v;
      turn.ceiling_doubt = before.doubt.empty() ? last_ceiling_.doubt : before.doubt;
      if (before.rate && last_ceiling_.rate && turn.ceiling_doubt.empty()) {
        turn.ceiling = (*before.rate + *last_ceiling_.rate) / 2;
        turn.control = *last_ceiling_.rate / *before.rate;
      }
      progress_.advance(1);
    }
    const double first = report_.results.front().turns.back().step.seconds;
    for (Result& result : report_.results) result.turns.back().first_seconds = first;
  }

  const Options& options_;
  std::vector<Variant> variants_;
  const demo::Model model_;
  const demo::StepWork work_;
  std::unique_ptr<tool::ScratchDirectory> scratch_;  // before what lives in it
  demo::ComputeThreads threads_;
  tool::Progress progress_;
  std::vector<std::unique_ptr<Stepper>> runs_;
  std::vector<State> states_;
  std::optional<tool::Disks> disks_;
  std::unique_ptr<Ceiling> ceiling_;
  std::optional<std::size_t> last_;  // whose turn was the last one, and the ceiling after it
  CeilingRate last_ceiling_;
  demo::Model memory_model_;
  std::unique_ptr<demo::InMemoryRun> memory_;
  std::int64_t memory_step_ = 0;
  Report report_;
};

}  // namespace

int run(const Options& options) {
  const tool::StopSignals signals;
  std::optional<tool::PromisedFile> trace_file, json_file;
  if (options.trace) trace_file.emplace(*options.trace);
  if (options.json && *options.json != "-") json_file.emplace(*options.json);
  Bench bench(options);
  const Report& report = bench.run();
  if (trace_file) trace_file->write(bench.trace());
  if (json_file) json_file->write(to_json(report) + "\n");
  const std::string text = options.json && !json_file ? to_json(report) + "\n" : to_table(report);
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) == EOF)
    throw Error(Errc::io_error, "the result could not be written to standard output");
  return 0;
}

}  // namespace spillway::steps
