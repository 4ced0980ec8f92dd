// spillway: the command-line tool. Exit status: 0; 2 for what the caller can mend (the command
// line, a config, a path); 1 for what the machine could not give, and for a result that is wrong;
// 128 + N after signal N.
#include <fmt/core.h>
#include <string.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "commands.h"
#include "stop_signals.h"

#include "spillway/error.h"
#include "spillway/log.h"

namespace {

using spillway::Errc;

constexpr int world_failed = 1;
constexpr int caller_erred = 2;
constexpr int signal_base = 128;

int status_of(Errc code) {
  switch (code) {
    case Errc::invalid_argument:
    case Errc::invalid_config:
    case Errc::not_found:
    case Errc::permission_denied: return caller_erred;
    default: return world_failed;
  }
}

template <typename... Args>
void complain(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(stderr, "spillway: {}\n", fmt::format(format, std::forward<Args>(args)...));
}

int run(const spillway::tool::Command& command) {
  try {
    return command();
  } catch (const spillway::tool::Stopped& stopped) {
    complain("stopped by SIG{}; nothing is left on disk", ::sigabbrev_np(stopped.signal));
    return signal_base + stopped.signal;
  } catch (const spillway::Error& error) {
    complain("{}", error.what());
    return status_of(error.code());
  } catch (const std::bad_alloc&) {
    complain("the process found no memory (its own, beside the pool); give it more");
    return world_failed;
  } catch (const std::exception& error) {
    complain("{}", error.what());
    return world_failed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Optimizer state that spills from pinned host memory to NVMe and comes back in time",
               "spillway");
  app.set_version_flag("--version", "spillway " SPILLWAY_VERSION);
  bool verbose = false;
  app.add_flag("--verbose", verbose, "Log what is decided and why");
  app.require_subcommand(0, 1);  // none is for us to tell: CLI11 would hide a misspelt one
  app.fallthrough();
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("spillway: {}; --help lists what there is\n", error.what());
  });
  spillway::tool::Command command;
  spillway::tool::add_demo(app, command);
  spillway::tool::add_bench(app, command);
  spillway::tool::add_reference(app, command);
  spillway::tool::add_bench_rank(app, command);
  spillway::tool::add_bench_processes(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : caller_erred;
  }
  if (!command) {
    complain("which command? --help lists them");
    return caller_erred;
  }
  if (verbose) spillway::set_log_level(spillway::LogLevel::info);
  return run(command);
}
