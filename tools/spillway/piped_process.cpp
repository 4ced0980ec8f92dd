#include "piped_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

// How soon a signal is noticed that came just before poll().
constexpr int poll_ms = 100;

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> all;
  for (std::string& string : strings) all.push_back(string.data());
  all.push_back(nullptr);
  return all;
}

std::vector<std::string> environment_with(const std::vector<std::string>& added) {
  std::vector<std::string> all = added;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry(*at);
    const std::string_view name = entry.substr(0, entry.find('=') + 1);
    bool replaced = false;
    for (const std::string& ours : added) replaced = replaced || ours.starts_with(name);
    if (!replaced) all.emplace_back(entry);
  }
  return all;
}

Error spawn_error(const std::string& program, int error) {
  const Errc code = error == ENOENT                      ? Errc::not_found
                    : error == ENOMEM || error == EAGAIN ? Errc::out_of_memory
                                                         : Errc::io_error;
  return Error(code, fmt::format("{} cannot be started: {}", program, std::strerror(error)));
}

}  // namespace

PipedProcess::PipedProcess(const std::vector<std::string>& arguments,
                           const std::vector<std::string>& environment) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw spawn_error(arguments[0], errno);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  // What we ignore, a child would inherit ignored.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words = arguments;
  std::vector<std::string> settings = environment_with(environment);
  const int error = ::posix_spawnp(&pid_, words[0].c_str(), &actions, &attributes,
                                   pointers(words).data(), pointers(settings).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(ends[1]);
  output_ = ends[0];
  if (error != 0) {
    ::close(output_);
    throw spawn_error(arguments[0], error);
  }
}

PipedProcess::~PipedProcess() {
  ::close(output_);
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

std::optional<std::string> PipedProcess::read_line() {
  for (;;) {
    StopSignals::check();
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd readable{output_, POLLIN, 0};
    if (::poll(&readable, 1, poll_ms) <= 0) continue;
    std::array<char, 16384> piece{};
    const ssize_t got = ::read(output_, piece.data(), piece.size());
    if (got > 0) buffer_.append(piece.data(), static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR)
      throw Error(Errc::io_error, fmt::format("a child's pipe: {}", std::strerror(errno)));
    if (got == 0) {
      if (buffer_.empty()) return std::nullopt;
      return std::exchange(buffer_, {});
    }
  }
}

int PipedProcess::wait() {
  if (pid_ >= 0) {
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  return status_;
}

}  // namespace spillway::tool
