#include "reference_process.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "compute_threads.h"
#include "in_memory_run.h"
#include "model.h"
#include "piped_process.h"
#include "process_figures.h"
#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::demo {
namespace {

using nlohmann::json;

void say(const json& line) {
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

[[noreturn]] void throw_end(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    // From the terminal, it went to all of us.
    if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) throw tool::Stopped{signal};
    if (signal == SIGKILL)
      throw Error(Errc::out_of_memory,
                  "the in-memory run was killed, most likely for want of memory; --no-reference "
                  "leaves it out");
    throw Error(Errc::io_error, fmt::format("the in-memory run died of signal {}", signal));
  }
  throw Error(Errc::io_error, fmt::format("the in-memory run ended with status {} and no result",
                                          WEXITSTATUS(status)));
}

}  // namespace

ReferenceResult run_reference(const Work& work, const std::function<void()>& on_step) {
  std::vector<std::string> command{"/proc/self/exe",
                                   "reference",
                                   "--model=" + work.model,
                                   fmt::format("--steps={}", work.steps),
                                   fmt::format("--seed={}", work.seed),
                                   fmt::format("--threads={}", work.threads),
                                   fmt::format("--parent={}", ::getpid())};
  if (work.layers) command.push_back(fmt::format("--layers={}", *work.layers));
  tool::PipedProcess process(command, {.environment = {InMemoryRun::huge_page_setting}});

  ReferenceResult result;
  bool complete = false;
  while (const auto line = process.read_line()) {
    const json said = json::parse(*line, nullptr, false);
    if (said.is_discarded() || !said.is_object()) break;
    if (said.contains("error")) throw Error(Errc::out_of_memory, said["error"].get<std::string>());
    if (said.contains("step_seconds")) {
      result.step_seconds.push_back(said["step_seconds"]);
      on_step();
    }
    if (said.contains("hashes")) {
      said["hashes"].get_to(result.hashes);
      said["huge_page_share"].get_to(result.huge_page_share);
      complete = true;
    }
  }
  const int status = process.wait();
  if (!complete || status != 0) throw_end(status);
  return result;
}

int serve_reference(const Work& work, int parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) return 1;  // it died before we could ask to be told
  try {
    const Model model = make_model(work.model, work.layers);
    ComputeThreads threads(work.threads);
    InMemoryRun run(model, work.seed, threads);
    const double huge = static_cast<double>(
        std::max<std::int64_t>(0, tool::proc_bytes("/proc/self/smaps_rollup", "AnonHugePages")));
    for (std::int64_t step = 1; step <= work.steps; ++step) say({{"step_seconds", run.step(step)}});
    say({{"hashes", run.hashes()},
         {"huge_page_share",
          std::min(1.0, huge / static_cast<double>(InMemoryRun::bytes(model)))}});
  } catch (const std::bad_alloc&) {
    say({{"error", "the in-memory run found no memory; --no-reference leaves it out"}});
    return 1;
  }
  return 0;
}

}  // namespace spillway::demo
