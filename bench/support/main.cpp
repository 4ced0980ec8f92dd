// The frame of every Google Benchmark program here: what they say before the first figure.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include "machine.h"

int main(int argc, char** argv) {
  namespace bench = spillway::bench;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("machine", bench::machine_line());
  benchmark::AddCustomContext("place", bench::place_line(std::filesystem::current_path()));
  std::string all;
  for (const std::string& doubt : bench::doubts()) {
    fmt::print(stderr, "warning: {}\n", doubt);
    all += (all.empty() ? "" : "; ") + doubt;
  }
  benchmark::AddCustomContext("doubts", all);
  try {
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", argv[0], error.what());
    return 1;
  }
  benchmark::Shutdown();
  return 0;
}
