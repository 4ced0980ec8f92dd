#include "serve.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "base/throw.h"
#include "machine.h"
#include "process_figures.h"

namespace spillway::bench {
namespace {

using nlohmann::ordered_json;

void say(const ordered_json& line) {
  fmt::print("{}\n", line.dump());
  if (std::fflush(stdout) != 0) throw_error(Errc::io_error, "standard output was closed");
}

}  // namespace

void serve(Peer& peer, const StepShape& shape) {
  say({{"peer", peer.name()}, {"setting", peer.setting()}, {"state_bytes", shape.state_bytes}});
  int steps = 0;
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "step") throw_error(Errc::invalid_argument, "--serve: {} is not \"step\"", line);
    const double cpu = own_cpu_seconds();
    const auto begin = std::chrono::steady_clock::now();
    peer.step();
    ++steps;
    say({{"seconds",
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()},
         {"cpu_seconds", own_cpu_seconds() - cpu},
         {"peak_rss_bytes", tool::peak_rss_bytes()}});
  }
  peer.check(steps);
  say({{"checked", true}, {"steps", steps}});
}

}  // namespace spillway::bench
