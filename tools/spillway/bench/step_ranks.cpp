#include "bench/step_ranks.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>

#include "bench/load_message.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::steps {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StepFigures, seconds, bytes_read, bytes_written,
                                   stall_read_seconds, stall_write_seconds, stall_buffer_seconds,
                                   compute_seconds, checksum_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StepHouse, engine, direct_io, tiles, resident_tiles, tile_bytes,
                                   buffers, region_bytes, resident_share_bytes, pinned_bytes,
                                   metadata_bytes, huge_page_share)

namespace {

using nlohmann::json;

// A rank that is asked to end waits for its transfers and removes its files.
constexpr double patience = 15;  // [s]

[[noreturn]] void throw_end(int status) {
  tool::StopSignals::check();
  // From the terminal, it went to all of us; ours may be still on its way.
  const int stopped = WIFEXITED(status) ? WEXITSTATUS(status) - 128 : 0;
  if (stopped == SIGINT || stopped == SIGTERM || stopped == SIGHUP) throw tool::Stopped{stopped};
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    throw Error(Errc::out_of_memory,
                "a rank was killed, most likely for want of memory: fewer --ranks, fewer variants");
  throw Error(Errc::io_error, fmt::format("a rank ended with status {} and no result",
                                          WIFEXITED(status) ? WEXITSTATUS(status) : -1));
}

json read(tool::PipedProcess& rank) {
  const auto line = rank.read_line();
  if (!line) throw_end(rank.wait());
  json said = json::parse(*line, nullptr, false);
  if (!said.is_object())
    throw Error(Errc::io_error,
                fmt::format("a rank said what nobody understands: {}", line->substr(0, 200)));
  if (said.contains("error"))
    throw Error(static_cast<Errc>(said["code"].get<int>()), said["error"].get<std::string>());
  return said;
}

void say(const json& line) {
  const std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  // Nobody listens any more: end as if asked to.
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) == EOF)
    throw tool::Stopped{SIGHUP};
}

void say_error(Errc code, const char* text) {
  try {
    say({{"error", text}, {"code", static_cast<int>(code)}});
  } catch (const tool::Stopped&) {
    // Nobody listens.
  }
}

void serve() {
  std::string line;
  if (!std::getline(std::cin, line)) return;
  const json wish = json::parse(line);
  Options options;
  options.compute = wish.at("compute");
  options.repeat = wish.at("repeat");
  std::optional<std::int64_t> layers;
  if (!wish.at("layers").is_null()) layers = wish.at("layers").get<std::int64_t>();
  const int rank = wish.at("rank"), ranks = wish.at("ranks");
  const demo::Model model =
      share_of(demo::make_model(wish.at("model").get<std::string>(), layers), rank, ranks);
  demo::ComputeThreads threads(wish.at("threads"));
  StepRun run(model, parse_config(wish.at("config").get<std::string>()), work_of(options), threads,
              {.rank = rank, .local_rank = rank, .local_world_size = ranks});
  run.steps(1);
  json ready = run.house();
  for (const PathStats& path : run.paths()) ready["paths"].push_back(tool::path_message(path));
  say(ready);
  while (std::getline(std::cin, line)) {
    const json next = json::parse(line);
    if (next.contains("steps")) {
      say(run.steps(next["steps"]));
    } else {
      run.start_again();
      say(json::object());
    }
  }
}

}  // namespace

RankedRun::RankedRun(const Options& options, const Config& config, int threads) {
  for (int rank = 0; rank < options.ranks; ++rank) {
    ranks_.push_back(std::make_unique<tool::PipedProcess>(
        std::vector<std::string>{"/proc/self/exe", "bench-rank",
                                 fmt::format("--parent={}", ::getpid())},
        tool::PipedOptions{.input = true, .patience = patience}));
    json wish{{"model", options.model},
              {"layers", nullptr},
              {"rank", rank},
              {"ranks", options.ranks},
              {"compute", options.compute},
              {"repeat", options.repeat},
              {"threads", std::max(1, threads / options.ranks)},
              {"config", to_json(config)}};
    if (options.layers) wish["layers"] = *options.layers;
    ranks_.back()->write_line(wish.dump());
  }
  for (const auto& rank : ranks_) {
    const json ready = read(*rank);
    for (const json& path : ready.value("paths", json::array()))
      paths_.push_back(tool::path_in(path));
    const StepHouse house = ready;
    const StepHouse before = std::exchange(house_, house);
    house_.direct_io = house.direct_io && (rank == ranks_.front() || before.direct_io);
    house_.tiles += before.tiles;
    house_.resident_tiles += before.resident_tiles;
    house_.region_bytes += before.region_bytes;
    house_.resident_share_bytes += before.resident_share_bytes;
    house_.pinned_bytes += before.pinned_bytes;
    house_.metadata_bytes += before.metadata_bytes;
    house_.huge_page_share += before.huge_page_share;
  }
  house_.huge_page_share /= static_cast<double>(ranks_.size());
}

StepFigures RankedRun::steps(std::int64_t count) {
  for (const auto& rank : ranks_) rank->write_line(json{{"steps", count}}.dump());
  StepFigures all;
  const auto share = 1 / static_cast<double>(ranks_.size());
  for (const auto& rank : ranks_) {
    const StepFigures one = read(*rank);
    all.seconds = std::max(all.seconds, one.seconds);
    all.bytes_read += one.bytes_read;
    all.bytes_written += one.bytes_written;
    all.stall_read_seconds += share * one.stall_read_seconds;
    all.stall_write_seconds += share * one.stall_write_seconds;
    all.stall_buffer_seconds += share * one.stall_buffer_seconds;
    all.compute_seconds += share * one.compute_seconds;
    all.checksum_seconds += share * one.checksum_seconds;
  }
  return all;
}

void RankedRun::start_again() {
  for (const auto& rank : ranks_) rank->write_line(json{{"start_again", true}}.dump());
  for (const auto& rank : ranks_) read(*rank);
}

int serve_rank(int parent) {
  // Not killed: what was made must go.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  const tool::StopSignals signals;
  if (::getppid() != parent) return 1;  // it died before we could ask to be told
  try {
    serve();
    return 0;
  } catch (const tool::Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const Error& error) {
    say_error(error.code(), error.what());
  } catch (const std::exception& error) {
    say_error(Errc::out_of_memory, error.what());
  }
  return 1;
}

}  // namespace spillway::steps
