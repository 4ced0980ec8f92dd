#include <memory>

#include "bench/bench_commands.h"
#include "bench/params.h"
#include "option_checks.h"

namespace spillway::tool {

void add_bench_params(CLI::App& bench, Command& chosen) {
  const auto options = std::make_shared<params::Options>();
  params::Options& o = *options;
  CLI::App& command = *bench.add_subcommand(
      "params",
      "Fetch a model's parameters as training does: hit rates beside LRU's and Belady's, stalls");
  add_model(command, o.model, o.layers);
  command
      .add_option("--trace", o.trace,
                  "forward-backward, cyclic (forward only), or moe (a random 2 of each layer's "
                  "experts, or half of the layers); a step overwrites what was used")
      ->type_name("NAME")
      ->check(CLI::IsMember({"forward-backward", "cyclic", "moe"}))
      ->group("Work")
      ->capture_default_str();
  command.add_option("--passes", o.passes, "Passes at each cap; the first one learns the order")
      ->type_name("N")
      ->check(whole_number(1, 1'000'000))
      ->group("Work")
      ->capture_default_str();
  command
      .add_option("--think-ms", o.think_ms,
                  "Time that each unit (a layer, an expert) is used before the next")
      ->type_name("MS")
      ->group("Work")
      ->capture_default_str();
  command
      .add_option("--cap", o.caps,
                  "Sizes of the CPU cache, in elements or shares of the model: 0,25%,50%,100% "
                  "(default; with --config: its max_in_cpu)")
      ->type_name("LIST")
      ->delimiter(',')
      ->group("Offload");
  command
      .add_option(
          "--nvme-path", o.nvme_path,
          "Directories to keep the parameters in (default: a fresh one here, removed at the "
          "end)")
      ->type_name("DIR")
      ->group("Offload");
  command
      .add_option("--config", o.config_file,
                  "A native config or a ds_config.json: its offload_param, but for what the "
                  "options here set")
      ->type_name("FILE")
      ->group("Offload");
  add_json(command, o.json, "table");
  command.callback(
      [options, &chosen] { chosen = [options] { return params::run_params(*options); }; });
}

}  // namespace spillway::tool
