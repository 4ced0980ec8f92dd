// What does the engine cost beside fio? For each pattern and pair, in turn on one file: fio, the
// engine, fio again.
//
//   ratio   = rate of the engine / mean rate of fio's two runs
//   cpu     = CPU seconds per GiB of the engine / mean of fio's
//   control = rate of fio's second run / rate of its first: how much the machine alone moves a
//   ratio
//
// Medians come with the 95 % interval of order statistics.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_size.h"
#include "bench/huge_pages.h"
#include "bench/spread.h"
#include "engine_load.h"
#include "fio_load.h"
#include "machine.h"
#include "scratch_directory.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::bench {
namespace {

using nlohmann::ordered_json;

struct Options {
  std::string directory = ".";
  std::vector<std::string> patterns{"read", "write", "mixed"};
  std::string engine = "auto", fio_engine = "io_uring", data = "auto", pages = "auto";
  std::string file_size = "1GiB", block_size = "1MiB";
  std::vector<std::string> fio_arguments;
  int depth = 8;
  int pairs = 21;
  double seconds = 2.0;
  std::string json_file;
};

struct Pair {
  Sample fio_before, engine, fio_after;

  double fio_rate() const { return (fio_before.gb_per_second() + fio_after.gb_per_second()) / 2; }
  double fio_cpu() const { return (fio_before.cpu_per_gib() + fio_after.cpu_per_gib()) / 2; }
};

template <typename Value>
tool::Spread over(const std::vector<Pair>& pairs, Value value) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(value(pair));
  return tool::spread_of(std::move(values));
}

struct Row {
  const char* name;
  const char* unit;
  tool::Spread interval;
};
std::vector<Row> rows(const std::vector<Pair>& pairs) {
  return {
      {"engine", "GB/s", over(pairs, [](const Pair& p) { return p.engine.gb_per_second(); })},
      {"fio", "GB/s", over(pairs, [](const Pair& p) { return p.fio_rate(); })},
      {"ratio", "",
       over(pairs, [](const Pair& p) { return p.engine.gb_per_second() / p.fio_rate(); })},
      {"control", "",
       over(pairs,
            [](const Pair& p) {
              return p.fio_after.gb_per_second() / p.fio_before.gb_per_second();
            })},
      {"engine_cpu", "s/GiB", over(pairs, [](const Pair& p) { return p.engine.cpu_per_gib(); })},
      {"fio_cpu", "s/GiB", over(pairs, [](const Pair& p) { return p.fio_cpu(); })},
      {"cpu_ratio", "",
       over(pairs, [](const Pair& p) { return p.engine.cpu_per_gib() / p.fio_cpu(); })},
      {"cpu_control", "",
       over(pairs,
            [](const Pair& p) { return p.fio_after.cpu_per_gib() / p.fio_before.cpu_per_gib(); })},
  };
}

Pattern pattern_of(std::string_view name) {
  return *std::ranges::find(all_patterns, name, [](Pattern pattern) { return name_of(pattern); });
}

EngineChoice engine_of(std::string_view name) {
  if (name == "io_uring") return EngineChoice::io_uring;
  if (name == "threads") return EngineChoice::threads;
  return EngineChoice::automatic;
}

std::int64_t size_of(const std::string& text, const char* option) {
  const auto bytes = parse_bytes(text);
  if (!bytes || *bytes <= 0 || *bytes % 4096 != 0)
    throw Error(Errc::invalid_argument,
                fmt::format("{}: {} is no positive multiple of 4 KiB", option, text));
  return *bytes;
}

EngineLoadSettings engine_settings(const Options& options, const std::filesystem::path& folder) {
  EngineLoadSettings settings{.folder = folder};
  settings.block_bytes = size_of(options.block_size, "--block-size");
  settings.depth = options.depth;
  settings.engine = engine_of(options.engine);
  // At least a block for each transfer in flight, and whole blocks.
  settings.file_bytes = std::max<std::int64_t>(
      size_of(options.file_size, "--file-size") / settings.block_bytes, options.depth);
  settings.file_bytes *= settings.block_bytes;
  const char* const device = std::getenv("SPILLWAY_FAST_DEVICE");
  const bool on_zram = device != nullptr && std::string_view(device) == "zram";
  settings.data = options.data == "word" || (options.data == "auto" && on_zram) ? LoadFill::words
                                                                                : LoadFill::random;
  settings.huge_pages = options.pages == "auto"
                            ? tool::HugePages::free_for(settings.depth * settings.block_bytes)
                            : options.pages == "huge";
  return settings;
}

int run(const Options& options) {
  const tool::StopSignals signals;
  const tool::ScratchDirectory scratch(options.directory);
  const EngineLoadSettings settings = engine_settings(options, scratch.path());
  if (!settings.huge_pages && options.pages == "auto")
    fmt::print(stderr,
               "warning: no free hugetlb pages, so both sides get 4 KiB pages, and fio's rate is "
               "no ceiling of the disk; sysctl vm.nr_hugepages=64 mends it\n");
  EngineLoad engine(settings);
  FioLoad fio(engine, settings.huge_pages, options.fio_engine, options.fio_arguments);

  ordered_json out;
  out["machine"] = machine_line();
  out["place"] = place_line(scratch.path());
  out["direct_io"] = engine.direct_io();
  out["engine"] = engine.engine();
  out["engine_features"] = engine.features();
  out["fio_engine"] = fio.engine();
  out["block_size"] = settings.block_bytes;
  out["queue_depth"] = settings.depth;
  out["file_bytes"] = settings.file_bytes;
  out["data"] = settings.data == LoadFill::words ? "one word per page" : "random";
  out["huge_page_share"] = engine.huge_page_share();
  out["seconds"] = options.seconds;
  out["doubts"] = doubts();
  for (const std::string& doubt : doubts()) fmt::print(stderr, "warning: {}\n", doubt);
  fmt::print("{}\n{}; {}\n", machine_line(), place_line(scratch.path()), engine.direct_io());
  fmt::print("{} ({}) and fio with {}: {} blocks, {} in flight, {} of {}, {:.0f} % huge pages\n",
             engine.engine(), fmt::join(engine.features(), ", "), options.fio_engine,
             format_bytes(settings.block_bytes), settings.depth, format_bytes(settings.file_bytes),
             settings.data == LoadFill::words ? "one word per page" : "random data",
             100 * engine.huge_page_share());

  out["results"] = ordered_json::array();
  for (const std::string& name : options.patterns) {
    const Pattern pattern = pattern_of(name);
    std::vector<Pair> pairs;
    for (int i = 0; i <= options.pairs; ++i) {
      Pair pair;
      pair.fio_before = fio.run(pattern, options.seconds);
      pair.engine = engine.run(pattern, options.seconds);
      pair.fio_after = fio.run(pattern, options.seconds);
      if (i > 0) pairs.push_back(pair);  // the first one warms up
    }
    fmt::print(
        "{}, medians of {} pairs with their {}\n", name, pairs.size(),
        pairs.size() < tool::least_values ? "ranges (too few for an interval)" : "95 % intervals");
    ordered_json result{{"pattern", name}, {"pairs", pairs.size()}};
    for (const Row& row : rows(pairs)) {
      fmt::print("  {:<12}{:8.4f}  [{:.4f}, {:.4f}] {}\n", row.name, row.interval.median,
                 row.interval.low, row.interval.high, row.unit);
      result[row.name] = {
          {"median", row.interval.median}, {"low", row.interval.low}, {"high", row.interval.high}};
    }
    out["results"].push_back(std::move(result));
  }
  if (options.json_file.empty()) return 0;
  std::ofstream stream(options.json_file);
  stream << out.dump(2) << "\n";
  if (!stream.flush())
    throw Error(Errc::io_error, fmt::format("{} could not be written", options.json_file));
  return 0;
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--directory", options.directory, "Where to measure (default: here)");
  app.add_option("--pattern", options.patterns, "read, write, mixed")
      ->delimiter(',')
      ->check(CLI::IsMember({"read", "write", "mixed"}));
  app.add_option("--engine", options.engine)
      ->check(CLI::IsMember({"auto", "io_uring", "threads"}))
      ->capture_default_str();
  app.add_option("--fio-engine", options.fio_engine, "io_uring, libaio, ...")
      ->capture_default_str();
  app.add_option("--fio-argument", options.fio_arguments, "One more argument for fio; repeatable");
  app.add_option("--file-size", options.file_size)->capture_default_str();
  app.add_option("--block-size", options.block_size)->capture_default_str();
  app.add_option("--depth", options.depth, "Transfers in flight")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--pages", options.pages, "Of the buffers: huge, small, auto")
      ->check(CLI::IsMember({"huge", "small", "auto"}))
      ->capture_default_str();
  app.add_option("--data", options.data, "random; word: one word per page; auto: word on zram")
      ->check(CLI::IsMember({"random", "word", "auto"}))
      ->capture_default_str();
  app.add_option("--pairs", options.pairs)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--seconds", options.seconds, "Of each run")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  app.add_option("--json", options.json_file, "Also write everything to this file");
}

}  // namespace
}  // namespace spillway::bench

int main(int argc, char** argv) {
  using namespace spillway;
  bench::Options options;
  if (bench::tiny()) {
    options.pairs = 1;
    options.seconds = 0.02;
    options.file_size = "2MiB";
    options.block_size = "256KiB";
    options.depth = 2;
    options.pages = "small";  // the few huge ones may go to another test meanwhile
  }
  CLI::App app("The I/O engine against fio, pair by pair on one file", "engine_vs_fio");
  bench::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!bench::FioLoad::installed()) {
      fmt::print("SKIPPED: fio is not installed: apt-get install fio\n");
      return 0;
    }
    return bench::run(options);
  } catch (const tool::Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const std::exception& error) {
    fmt::print(stderr, "engine_vs_fio: {}\n", error.what());
    return 1;
  }
}
