#include <memory>

#include "bench/bench_commands.h"
#include "bench/step.h"
#include "bench/step_ranks.h"
#include "option_checks.h"

namespace spillway::tool {
namespace {

void add_work(CLI::App& command, steps::Options& o) {
  add_model(command, o.model, o.layers);
  command
      .add_option("--compute", o.compute,
                  "adamw, none, or fill: every value becomes the step's number, which a device in "
                  "memory stores for free")
      ->type_name("NAME")
      ->check(CLI::IsMember({"adamw", "fill", "none"}))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--repeat", o.repeat, "Compute every tile N times, to match slow devices")
      ->type_name("N")
      ->check(whole_number(1, 10'000))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--threads", o.threads, "Compute threads (0: one per processor)")
      ->type_name("N")
      ->check(whole_number(0, 1024))
      ->group("Work")
      ->capture_default_str();
}

void add_ranks(CLI::App& command, steps::Options& o) {
  command.add_option("--ranks", o.ranks, "Processes that share the state, as those of a job do")
      ->type_name("N")
      ->check(whole_number(1, 256))
      ->group("Work")
      ->capture_default_str();
}

void add_variants(CLI::App& command, steps::Options& o) {
  const auto list = [&](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)
        ->type_name("LIST")
        ->delimiter(',')
        ->group("Variants (every combination takes turns)");
  };
  list("--flags", o.flags, "Pipelining: none, read, write, both")
      ->check(CLI::IsMember({"none", "read", "write", "both"}))
      ->capture_default_str();
  list("--tile-size", o.tile_sizes, "As 4MiB");
  list("--buffers", o.buffers, "Tiles in flight");
  list("--ratio", o.ratios, "Shares of the state to offload, 0 to 1");
  list("--engine", o.engines, "auto, io_uring, threads")
      ->check(CLI::IsMember({"auto", "io_uring", "threads"}));
  list("--checksums", o.checksums, "on, off")->check(CLI::IsMember({"on", "off"}));
}

}  // namespace

void add_bench_step(CLI::App& bench, Command& chosen) {
  const auto options = std::make_shared<steps::Options>();
  steps::Options& o = *options;
  CLI::App& command = *bench.add_subcommand(
      "step", "Optimizer steps of a model, beside what the disk and the processor allow");
  add_work(command, o);
  add_ranks(command, o);
  add_variants(command, o);
  command
      .add_option("--nvme-path", o.nvme_path,
                  "Directories to keep the state in (default: a fresh one here, removed at the "
                  "end)")
      ->type_name("DIR")
      ->group("Where");
  command
      .add_option("--config", o.config_file,
                  "A native config or a ds_config.json: its offload_optimizer and how bytes move, "
                  "but for what the options here set")
      ->type_name("FILE")
      ->group("Where");
  command.add_option("--rounds", o.rounds, "Rounds; in each every variant takes its turn")
      ->type_name("N")
      ->check(whole_number(1, 100'000))
      ->group("Measuring")
      ->capture_default_str();
  command.add_option("--seconds", o.seconds, "At least, of each turn")
      ->type_name("S")
      ->group("Measuring")
      ->capture_default_str();
  command
      .add_option("--ceiling", o.ceiling,
                  "The disk's mixed rate, measured in each round: fio, engine (our own transfers "
                  "without tiles), none; auto: fio where it is installed, else engine")
      ->type_name("NAME")
      ->check(CLI::IsMember({"auto", "fio", "engine", "none"}))
      ->group("Measuring")
      ->capture_default_str();
  add_json(command, o.json, "table");
  command
      .add_option("--trace", o.trace,
                  "After the rounds, one more step of each variant as a timeline of reads, compute "
                  "and writes, for ui.perfetto.dev")
      ->type_name("FILE")
      ->group("Result");
  command.callback([options, &chosen] { chosen = [options] { return steps::run(*options); }; });
}

void add_bench_rank(CLI::App& app, Command& chosen) {
  const auto parent = std::make_shared<int>(0);
  CLI::App& command = *app.add_subcommand("bench-rank", "");
  command.group("");
  command.add_option("--parent", *parent)->required();
  command.callback([parent, &chosen] { chosen = [parent] { return steps::serve_rank(*parent); }; });
}

}  // namespace spillway::tool
