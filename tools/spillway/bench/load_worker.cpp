#include "bench/load_worker.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "bench/load_message.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

using nlohmann::json;

// A rank that is asked to end waits for its transfers and removes its files.
constexpr double patience = 15;  // [s]

}  // namespace

/// `key` says what it is.
struct LoadWorker::Message {
  std::string key;
  json value;
};

LoadWorker::LoadWorker(int rank, const PathLoadOptions& options)
    : rank_(rank),
      process_({"/proc/self/exe", "bench-worker", fmt::format("--parent={}", ::getpid())},
               {.input = true, .patience = patience}) {
  process_.write_line(json{{"options", options_message(options)}}.dump());
}

LoadWorker::Message LoadWorker::next(const OnTick& on_tick) {
  const auto line = process_.read_line(on_tick);
  if (!line) throw_end();
  json said = json::parse(*line, nullptr, false);
  if (!said.is_object() || said.size() != 1)
    throw Error(Errc::io_error, fmt::format("rank {} said what nobody understands: {}", rank_,
                                            line->substr(0, 200)));
  Message message{said.begin().key(), std::move(said.begin().value())};
  if (message.key == "error")
    throw Error(static_cast<Errc>(message.value.at("code").get<int>()),
                message.value.at("text").get<std::string>());
  return message;
}

void LoadWorker::throw_end() {
  const int status = process_.wait();
  StopSignals::check();
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    throw Error(Errc::out_of_memory,
                fmt::format("rank {} was killed, most likely for want of memory: fewer ranks, a "
                            "smaller block size or queue depth",
                            rank_));
  // From the terminal, it went to all of us; ours may be still on its way.
  const int stopped = WIFEXITED(status) ? WEXITSTATUS(status) - 128 : 0;
  if (stopped == SIGINT || stopped == SIGTERM || stopped == SIGHUP) throw Stopped{stopped};
  throw Error(Errc::io_error, fmt::format("rank {} ended with status {} and no result", rank_,
                                          WIFEXITED(status) ? WEXITSTATUS(status) : -1));
}

void LoadWorker::wait_ready(const std::function<void(std::int64_t bytes)>& on_filled) {
  for (;;) {
    const Message message = next();
    if (message.key == "filled") on_filled(message.value);
    if (message.key != "ready") continue;
    message.value.at("bytes_per_file").get_to(bytes_per_file_);
    for (const json& path : message.value.at("paths")) paths_.push_back(path_in(path));
    for (const PathStats& path : paths_) file_names_.push_back(path.data_file);
    return;
  }
}

void LoadWorker::prepare(const LoadShape& shape, std::int64_t spans) {
  process_.write_line(json{{"run", shape_message(shape, spans)}}.dump());
}

void LoadWorker::wait_prepared() {
  while (next().key != "prepared") {
  }
}

void LoadWorker::start(std::int64_t at_ns) { process_.write_line(json{{"start", at_ns}}.dump()); }

LoadResult LoadWorker::result(const OnTick& on_tick) {
  for (;;) {
    const Message message = next(on_tick);
    if (message.key == "result") return result_in(message.value);
    if (message.key == "dropped") dropped_ += message.value.get<std::int64_t>();
    if (message.key == "spans")
      for (const json& span : message.value) spans_.push_back(span_in(span));
  }
}

}  // namespace spillway::tool
