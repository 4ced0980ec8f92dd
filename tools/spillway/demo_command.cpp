#include <memory>
#include <string>

#include "commands.h"
#include "demo.h"
#include "option_checks.h"
#include "reference_process.h"

namespace spillway::tool {
namespace {

// A switch with its opposite that knows whether it was given at all.
void add_switch(CLI::App& command, const std::string& name, std::optional<bool>& value,
                const std::string& help) {
  command
      .add_flag_callback(
          "--" + name, [&value] { value = true; }, help)
      ->group("Offload");
  command.add_flag_callback("--no-" + name, [&value] { value = false; })->group("");
}

}  // namespace

void add_demo(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<demo::Options>();
  demo::Options& o = *options;
  CLI::App& command = *app.add_subcommand(
      "demo", "Train a model's optimizer state on NVMe, and compare with the same in memory");

  add_model(command, o.model, o.layers);
  command.add_option("--steps", o.steps, "Optimizer steps")
      ->type_name("N")
      ->check(whole_number(1, 1'000'000'000))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--seed", o.seed, "Of masters and gradients")
      ->type_name("N")
      ->group("Work")
      ->capture_default_str();
  command.add_option("--threads", o.threads, "Compute threads (0: one per processor)")
      ->type_name("N")
      ->check(whole_number(0, 1024))
      ->group("Work")
      ->capture_default_str();

  command
      .add_option("--config", o.config_file,
                  "A native config or a ds_config.json; the options "
                  "below go over it")
      ->type_name("FILE")
      ->group("Offload");
  command
      .add_option("--nvme-path", o.nvme_path,
                  "Directories to keep the state in (default: a fresh one here, removed at the "
                  "end)")
      ->type_name("DIR")
      ->group("Offload");
  command.add_option("--device", o.device, "Where the state lives")
      ->type_name("NAME")
      ->check(CLI::IsMember({"none", "cpu", "nvme"}))
      ->group("Offload");
  command.add_option("--ratio", o.ratio, "Share of the state to offload, 0 to 1")
      ->type_name("R")
      ->group("Offload");
  command.add_option("--buffer-count", o.buffer_count, "Tiles in flight")
      ->type_name("N")
      ->group("Offload");
  command.add_option("--tile-bytes", o.tile_bytes, "Size of a tile: 4194304, 4MiB")
      ->type_name("BYTES")
      ->group("Offload");
  command.add_option("--engine", o.engine, "What moves the bytes")
      ->type_name("NAME")
      ->check(CLI::IsMember({"auto", "io_uring", "threads"}))
      ->group("Offload");
  add_switch(command, "pipeline-read", o.pipeline_read, "Read ahead (--no-pipeline-read: do not)");
  add_switch(command, "pipeline-write", o.pipeline_write,
             "Write behind (--no-pipeline-write: do not)");
  add_switch(command, "pin-memory", o.pin_memory, "Lock the pool (--no-pin-memory: do not)");
  add_switch(command, "fast-init", o.fast_init, "Write no zeros at the start (--no-fast-init: do)");
  add_switch(command, "checksums", o.checksums,
             "Check what is read by checksums (--no-checksums: by trailers)");

  command
      .add_flag_callback(
          "--no-reference", [&o] { o.reference = false; },
          "Leave out the run in memory and the comparison")
      ->group("Result");
  command.add_flag("--json", o.json, "One JSON object on standard output instead of the table")
      ->group("Result");

  command.callback([options, &chosen] { chosen = [options] { return demo::run_demo(*options); }; });
}

void add_reference(CLI::App& app, Command& chosen) {
  struct Given {
    demo::Work work;
    int parent = 0;
  };
  const auto given = std::make_shared<Given>();
  CLI::App& command = *app.add_subcommand("reference", "");
  command.group("");
  command.add_option("--model", given->work.model)->required();
  command.add_option("--layers", given->work.layers);
  command.add_option("--steps", given->work.steps)->required();
  command.add_option("--seed", given->work.seed)->required();
  command.add_option("--threads", given->work.threads)->required();
  command.add_option("--parent", given->parent)->required();
  command.callback([given, &chosen] {
    chosen = [given] { return demo::serve_reference(given->work, given->parent); };
  });
}

}  // namespace spillway::tool
