#include <fmt/core.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bench/bench_commands.h"
#include "bench/child_process.h"
#include "bench/io_bench.h"
#include "bench/io_report.h"
#include "bench/load_worker.h"
#include "bench/promised_file.h"
#include "bench/trace.h"
#include "option_checks.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

void print_out(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) == EOF)
    throw Error(Errc::io_error, "the result could not be written to standard output");
}

bool on_zram(const MachineReport& machine) {
  for (const Place& place : machine.places)
    if (!place.device || !place.device->name.starts_with("zram")) return false;
  return true;
}

int run_bench_io(const io_bench::Options& options) {
  const StopSignals signals;
  MachineReport machine = look_at_machine(options.nvme_path);
  const io_bench::Plan plan = io_bench::make_plan(options, on_zram(machine), !machine.fio.empty());
  Trace trace;
  std::optional<PromisedFile> trace_file, json_file;
  if (options.trace) trace_file.emplace(*options.trace);
  if (options.json && *options.json != "-") json_file.emplace(*options.json);
  const io_bench::Report report =
      io_bench::IoBench(plan, std::move(machine), options.trace ? &trace : nullptr).run();
  if (trace_file) trace_file->write(trace.to_json() + "\n");
  if (json_file) json_file->write(io_bench::to_json(report) + "\n");
  print_out(options.json && !json_file ? io_bench::to_json(report) + "\n"
                                       : io_bench::to_text(report));
  return 0;
}

}  // namespace

void add_bench_io(CLI::App& bench, Command& chosen) {
  const auto options = std::make_shared<io_bench::Options>();
  io_bench::Options& o = *options;
  CLI::App& command = *bench.add_subcommand(
      "io", "What paths give: reads, writes and both, beside fio on the same files");

  command.add_option("--nvme-path", o.nvme_path, "Directories to measure (default: this one)")
      ->type_name("DIR")
      ->group("Work");
  command.add_option("--pattern", o.patterns, "read, write, mixed: one or several")
      ->type_name("LIST")
      ->delimiter(',')
      ->check(CLI::IsMember({"read", "write", "mixed"}))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--block-size", o.block_sizes, "Sizes of one transfer: 256KiB,1MiB")
      ->type_name("LIST")
      ->delimiter(',')
      ->group("Work")
      ->capture_default_str();
  command.add_option("--queue-depth", o.queue_depths, "Transfers in flight, of each rank: 4,8,16")
      ->type_name("LIST")
      ->delimiter(',')
      ->check(whole_number(1, 16384))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--engine", o.engines, "auto, io_uring, threads: one or several")
      ->type_name("LIST")
      ->delimiter(',')
      ->check(CLI::IsMember({"auto", "io_uring", "threads"}))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--ranks", o.ranks, "Processes that measure together")
      ->type_name("N")
      ->check(whole_number(1, 256))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--data", o.data, "random; words: one word per page; auto: words on zram")
      ->type_name("NAME")
      ->check(CLI::IsMember({"auto", "random", "words"}))
      ->group("Work")
      ->capture_default_str();

  command.add_option("--size", o.size, "Of all files together")
      ->type_name("BYTES")
      ->group("Bounds")
      ->capture_default_str();
  command.add_option("--seconds", o.seconds, "Of each run")
      ->type_name("S")
      ->group("Bounds")
      ->capture_default_str();
  command.add_option("--rounds", o.rounds, "Runs of each kind, in turn with those of fio")
      ->type_name("N")
      ->check(whole_number(1, 1000))
      ->group("Bounds")
      ->capture_default_str();
  command
      .add_option("--max-written", o.max_written,
                  "All that is written, by fio too; runs end earlier for it")
      ->type_name("BYTES")
      ->group("Bounds")
      ->capture_default_str();

  command.add_option("--ceiling", o.ceiling, "What stands beside: fio, none, auto: fio if there")
      ->type_name("NAME")
      ->check(CLI::IsMember({"auto", "fio", "none"}))
      ->group("Result")
      ->capture_default_str();
  add_json(command, o.json, "text");
  command.add_option("--trace", o.trace, "A timeline of all transfers, for ui.perfetto.dev")
      ->type_name("FILE")
      ->group("Result");

  command.callback([options, &chosen] { chosen = [options] { return run_bench_io(*options); }; });
}

void add_bench_processes(CLI::App& app, Command& chosen) {
  const auto parent = std::make_shared<int>(0);
  CLI::App& worker = *app.add_subcommand("bench-worker", "");
  worker.group("");
  worker.add_option("--parent", *parent)->required();
  worker.callback([parent, &chosen] { chosen = [parent] { return serve_load(*parent); }; });

  struct Child {
    int parent = 0;
    bool small_pages = false;
    std::vector<std::string> words;
  };
  const auto child = std::make_shared<Child>();
  CLI::App& command = *app.add_subcommand("bench-child", "");
  command.group("");
  command.add_option("--parent", child->parent)->required();
  command.add_flag("--small-pages", child->small_pages);
  command.add_option("words", child->words)->required();
  command.callback([child, &chosen] {
    chosen = [child] { return become_child(child->parent, child->small_pages, child->words); };
  });
}

}  // namespace spillway::tool
