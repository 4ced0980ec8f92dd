// The same mixed swap step by several: read a tile, touch it, write it, over all of a state.
// Spillway with and without checksums, plain pread/pwrite threads, libaio; each with as much memory
// for tiles, in turn, round by round. At the end everybody's state is read back and compared.
// With --serve: one of them, stepping when it is told to, for alternate.py.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/align.h"
#include "base/byte_size.h"
#include "bench/spread.h"
#include "machine.h"
#include "peer.h"
#include "scratch_directory.h"
#include "serve.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::bench {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string directory = ".";
  std::string state_size = "768MiB", tile_size = "3MiB";
  std::vector<std::string> peers;
  std::string serve;
  double ratio = 1;
  int threads = 0;
  int buffers = 4;
  int rounds = 21;
  double seconds = 1.0;
  std::string json_file;
};

struct Contender {
  std::unique_ptr<Peer> peer;
  int steps = 0;
  std::vector<double> step_seconds = {}, cpu_per_gib = {};
};

void measure(Contender& one, const StepShape& shape, double seconds, bool keep) {
  const double cpu = own_cpu_seconds();
  const auto begin = Clock::now();
  double elapsed = 0;
  int steps = 0;
  do {
    tool::StopSignals::check();
    one.peer->step();
    ++steps;
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  } while (elapsed < seconds);
  one.steps += steps;
  if (!keep) return;
  one.step_seconds.push_back(elapsed / steps);
  one.cpu_per_gib.push_back((own_cpu_seconds() - cpu) / steps /
                            (2 * static_cast<double>(shape.state_bytes) / GiB));
}

using Make = std::unique_ptr<Peer> (*)(const StepShape&, std::int64_t block_bytes);

// The plain peers get what suits this disk: the best of a few ways to spend the same memory, each
// tried for a moment.
std::unique_ptr<Peer> tuned(const StepShape& shape, Make make) {
  struct Way {
    StepShape shape;
    std::int64_t block_bytes = 0;
  } best;
  double best_seconds = 0;
  for (const StepShape& tiles : {shape, halved(shape)})
    for (const std::int64_t block : {tiles.tile_bytes, MiB, MiB / 2}) {
      if (block > tiles.tile_bytes) continue;
      Contender one{.peer = make(tiles, block)};
      measure(one, tiles, 0, false);
      measure(one, tiles, tiny() ? 0 : 0.5, true);
      if (best_seconds != 0 && one.step_seconds[0] >= best_seconds) continue;
      best = {tiles, block};
      best_seconds = one.step_seconds[0];
    }
  return make(best.shape, best.block_bytes);
}

std::unique_ptr<Peer> make_peer(const std::string& name, const Options& options,
                                const StepShape& shape) {
  if (name == "spillway") return make_spillway_peer(shape, true);
  if (name == "spillway-plain") return make_spillway_peer(shape, false);
  if (name == "threads") return tuned(shape, make_thread_peer);
  if (name == "libaio") {
#ifdef SPILLWAY_HAVE_LIBAIO
    return tuned(shape, make_libaio_peer);
#else
    throw Error(Errc::unsupported,
                "no libaio in this build: apt-get install libaio-dev, and configure again");
#endif
  }
#ifdef SPILLWAY_HAVE_ADAMW
  return make_adamw_peer(shape, options.ratio,
                         options.threads > 0
                             ? options.threads
                             : static_cast<int>(std::thread::hardware_concurrency()));
#else
  throw Error(Errc::unsupported,
              fmt::format("{} needs the tool's optimizer, ratio {}: configure with "
                          "-DSPILLWAY_BUILD_TOOLS=ON",
                          name, options.ratio));
#endif
}

std::vector<Contender> contenders(const Options& options, const StepShape& shape) {
  std::vector<std::string> names = options.peers;
  if (names.empty()) {
    names = {"spillway", "spillway-plain", "threads"};
#ifdef SPILLWAY_HAVE_LIBAIO
    names.emplace_back("libaio");
#endif
  }
  std::vector<Contender> all;
  for (const std::string& name : names) all.push_back({.peer = make_peer(name, options, shape)});
  return all;
}

StepShape shape_of(const Options& options, const std::filesystem::path& folder) {
  StepShape shape{.folder = folder, .buffers = options.buffers};
  // Three states with sections of whole 16 KiB each.
  const auto bytes_of = [](const std::string& text, const char* option) {
    const auto bytes = parse_bytes(text);
    if (!bytes || *bytes < 48 * KiB || *bytes > 1024 * GiB)
      throw Error(Errc::invalid_argument, fmt::format("{} {}: 48KiB to 1TiB", option, text));
    return *bytes;
  };
  shape.tile_bytes = align_down(bytes_of(options.tile_size, "--tile-size"), 48 * KiB);
  shape.state_bytes = align_up(bytes_of(options.state_size, "--state-size"), shape.tile_bytes);
  return shape;
}

ordered_json json_of(const tool::Spread& interval) {
  return {{"median", interval.median}, {"low", interval.low}, {"high", interval.high}};
}

int run(const Options& options) {
  const tool::StopSignals signals;
  const tool::ScratchDirectory scratch(options.directory);
  const StepShape shape = shape_of(options, scratch.path());
  if (!options.serve.empty()) {
    serve(*make_peer(options.serve, options, shape), shape);
    return 0;
  }
  std::vector<Contender> all = contenders(options, shape);
  for (Contender& one : all) measure(one, shape, 0, false);  // warm-up
  for (int round = 0; round < options.rounds; ++round)
    for (std::size_t i = 0; i < all.size(); ++i)  // another one is first in each round
      measure(all[(static_cast<std::size_t>(round) + i) % all.size()], shape, options.seconds,
              true);
  for (Contender& one : all) one.peer->check(one.steps);

  ordered_json out{{"machine", machine_line()},
                   {"place", place_line(scratch.path())},
                   {"doubts", doubts()},
                   {"state_bytes", shape.state_bytes},
                   {"tile_bytes", shape.tile_bytes},
                   {"buffers", shape.buffers},
                   {"rounds", options.rounds},
                   {"results", ordered_json::array()}};
  for (const std::string& doubt : doubts()) fmt::print(stderr, "warning: {}\n", doubt);
  fmt::print("{}\n{}\n{} of state, tiles of {}, {} of them in memory; medians of {} rounds [{}]\n",
             machine_line(), place_line(scratch.path()), format_bytes(shape.state_bytes),
             format_bytes(shape.tile_bytes), shape.buffers, options.rounds,
             options.rounds < static_cast<int>(tool::least_values) ? "range" : "95 %");
  const double moved = 2 * static_cast<double>(shape.state_bytes) / 1e9;
  for (const Contender& one : all) {
    std::vector<double> rates, against;
    for (std::size_t i = 0; i < one.step_seconds.size(); ++i) {
      rates.push_back(moved / one.step_seconds[i]);
      against.push_back(one.step_seconds[i] / all[0].step_seconds[i]);
    }
    const tool::Spread seconds = tool::spread_of(one.step_seconds), rate = tool::spread_of(rates),
                       cpu = tool::spread_of(one.cpu_per_gib), ratio = tool::spread_of(against);
    fmt::print(
        "  {:<24}{:.3f} s a step, {:.2f} GB/s [{:.2f}, {:.2f}], {:.3f} CPU s/GiB, {:.3f} of the "
        "first's time [{:.3f}, {:.3f}]; {}\n",
        one.peer->name(), seconds.median, rate.median, rate.low, rate.high, cpu.median,
        ratio.median, ratio.low, ratio.high, one.peer->setting());
    out["results"].push_back({{"peer", one.peer->name()},
                              {"setting", one.peer->setting()},
                              {"step_seconds", json_of(seconds)},
                              {"gbps", json_of(rate)},
                              {"cpu_s_per_gib", json_of(cpu)},
                              {"time_of_first", json_of(ratio)}});
  }
  if (options.json_file.empty()) return 0;
  std::ofstream stream(options.json_file);
  stream << out.dump(2) << "\n";
  if (!stream.flush())
    throw Error(Errc::io_error, fmt::format("{} could not be written", options.json_file));
  return 0;
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  using namespace spillway;
  bench::Options options;
  if (bench::tiny()) {
    options.state_size = "3MiB";
    options.tile_size = "384KiB";
    options.rounds = 1;
    options.seconds = 0;
  }
  CLI::App app("One swap step, by Spillway and by plain means", "swap_peers");
  app.add_option("--directory", options.directory, "Where to measure (default: here)");
  app.add_option("--state-size", options.state_size)->capture_default_str();
  app.add_option("--tile-size", options.tile_size)->capture_default_str();
  app.add_option("--buffers", options.buffers, "Tiles in memory at a time")
      ->check(CLI::Range(3, 1024))
      ->capture_default_str();
  const CLI::IsMember known({"spillway", "spillway-plain", "spillway-adamw", "threads", "libaio"});
  app.add_option("--peers", options.peers, "Who takes turns; the first is compared with")
      ->delimiter(',')
      ->check(known);
  app.add_option("--serve", options.serve, "Only this one, a step for each line on standard input")
      ->check(known);
  app.add_option("--ratio", options.ratio, "spillway-adamw: the share of the state on disk")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "spillway-adamw: compute threads (0: all)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--seconds", options.seconds, "At least, of each in a round")
      ->check(CLI::Range(0.0, 600.0))
      ->capture_default_str();
  app.add_option("--json", options.json_file, "Also write everything to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    return bench::run(options);
  } catch (const tool::Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const std::exception& error) {
    fmt::print(stderr, "swap_peers: {}\n", error.what());
    return 1;
  }
}
