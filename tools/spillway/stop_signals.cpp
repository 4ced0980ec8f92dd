#include "stop_signals.h"

#include <signal.h>

#include <array>
#include <atomic>

namespace spillway::tool {
namespace {

constexpr std::array stop_signals{SIGINT, SIGTERM, SIGHUP};

std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "set by a signal handler");

void note(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignals::StopSignals() {
  for (const int signal : stop_signals) {
    // nohup starts programs with SIGHUP ignored, and that stays. Shells do the same to SIGINT of
    // background jobs; but who sends us one by hand means it.
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (signal != SIGHUP || before.sa_handler != SIG_IGN) handle(signal, note);
  }
  handle(SIGPIPE, SIG_IGN);
}

StopSignals::~StopSignals() {
  for (const int signal : stop_signals) {
    struct sigaction now {};
    ::sigaction(signal, nullptr, &now);
    if (now.sa_handler == note) handle(signal, SIG_DFL);
  }
  handle(SIGPIPE, SIG_DFL);
}

int StopSignals::received() noexcept { return first_signal.load(); }

void StopSignals::check() {
  if (const int signal = received()) throw Stopped{signal};
}

}  // namespace spillway::tool
