// The process of one rank: see load_worker.h.
#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <new>
#include <thread>

#include "bench/load_message.h"
#include "bench/load_worker.h"
#include "line_reader.h"
#include "stop_signals.h"

#include "spillway/error.h"
#include "spillway/log.h"

namespace spillway::tool {
namespace {

using nlohmann::json;

constexpr std::int64_t bytes_between_reports = 32 * 1024 * 1024;

class LoadServer {
 public:
  void run() {
    const json first = next();
    if (first.is_null()) return;
    PathLoad load(options_in(first.at("options")));
    fill(load);
    for (json wish = next(); !wish.is_null(); wish = next()) one_run(load, wish.at("run"));
  }

  static void say(const char* key, const json& value) {
    const std::string line =
        json{{key, value}}.dump(-1, ' ', false, json::error_handler_t::replace);
    // Nobody listens any more: end as if asked to.
    if (std::fputs((line + "\n").c_str(), stdout) == EOF || std::fflush(stdout) == EOF)
      throw Stopped{SIGHUP};
  }

 private:
  // Null at the end of the input.
  json next() {
    const auto line = input_.read();
    return line ? json::parse(*line) : json();
  }

  static void check(std::int64_t) {
    // That the run is left early is what was asked for: no news for the log.
    if (StopSignals::received() != 0) set_log_level(LogLevel::error);
    StopSignals::check();
  }

  static void fill(PathLoad& load) {
    std::int64_t told = 0;
    load.fill({.on_progress = [&](std::int64_t bytes) {
      check(bytes);
      if (bytes - told < bytes_between_reports) return;
      say("filled", bytes);
      told = bytes;
    }});
    json paths = json::array();
    for (const PathStats& path : load.paths()) paths.push_back(path_message(path));
    say("ready", {{"bytes_per_file", load.bytes_per_file()}, {"paths", paths}});
  }

  void one_run(PathLoad& load, const json& wish) {
    std::shared_ptr<Timeline> timeline;
    const std::int64_t spans = wish.at("spans");
    if (spans > 0) timeline = std::make_shared<Timeline>(static_cast<std::size_t>(spans));
    const LoadResult result = load.run(
        shape_in(wish),
        {.on_prepared = [this] { wait_for_start(); }, .on_progress = check, .timeline = timeline});
    if (timeline) tell_spans(*timeline);
    say("result", result_message(result));
  }

  void wait_for_start() {
    say("prepared", true);
    const json wish = next();
    if (wish.is_null()) throw Stopped{SIGHUP};
    const std::int64_t left = wish.at("start").get<std::int64_t>() - Timeline::now_ns();
    if (left > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left));
  }

  static void tell_spans(Timeline& timeline) {
    say("dropped", timeline.dropped());
    json line = json::array();
    for (const Span& span : timeline.take()) {
      line.push_back(span_message(span));
      if (line.size() < spans_per_line) continue;
      say("spans", line);
      line.clear();
    }
    if (!line.empty()) say("spans", line);
  }

  LineReader input_{STDIN_FILENO};
};

void say_error(Errc code, const char* text) {
  try {
    LoadServer::say("error", {{"code", static_cast<int>(code)}, {"text", text}});
  } catch (const Stopped&) {
    // Nobody listens.
  }
}

}  // namespace

int serve_load(int parent) {
  // Not killed: what was made must go.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  const StopSignals signals;
  if (::getppid() != parent) return 1;  // it died before we could ask to be told
  try {
    LoadServer().run();
    return 0;
  } catch (const Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const Error& error) {
    say_error(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    say_error(Errc::out_of_memory, "a rank found no memory; give it more");
  } catch (const json::exception& error) {
    say_error(Errc::invalid_argument, error.what());
  }
  return 1;
}

}  // namespace spillway::tool
