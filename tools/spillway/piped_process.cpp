#include "piped_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "spillway/error.h"

namespace spillway::tool {
namespace {

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

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

void close_one(int& descriptor) noexcept {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

// A pipe whose ends no other child inherits.
std::array<int, 2> make_pipe(const std::string& program) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw spawn_error(program, errno);
  return ends;
}

}  // namespace

PipedProcess::PipedProcess(const std::vector<std::string>& arguments, const PipedOptions& options)
    : patience_(options.patience) {
  std::array<int, 2> out = make_pipe(arguments[0]), in{-1, -1};
  if (options.input) try {
      in = make_pipe(arguments[0]);
    } catch (const Error&) {
      for (int& end : out) close_one(end);
      throw;
    }

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  if (options.errors) posix_spawn_file_actions_adddup2(&actions, out[1], STDERR_FILENO);
  if (options.input) posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  // What we ignore, a child would inherit ignored.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words = arguments;
  std::vector<std::string> settings = environment_with(options.environment);
  const int error = ::posix_spawnp(&pid_, words[0].c_str(), &actions, &attributes,
                                   pointers(words).data(), pointers(settings).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close_one(out[1]);
  close_one(in[0]);
  output_ = out[0];
  input_ = in[1];
  lines_ = LineReader(output_);
  if (error == 0) return;
  close_one(output_);
  close_one(input_);
  throw spawn_error(arguments[0], error);
}

PipedProcess::~PipedProcess() {
  close_input();
  close_one(output_);
  if (pid_ < 0) return;
  if (patience_ > 0) end_gently();
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

void PipedProcess::end_gently() {
  ::kill(pid_, SIGTERM);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_);
  while (!take_end(WNOHANG) && std::chrono::steady_clock::now() < limit)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

std::optional<std::string> PipedProcess::read_line(const LineReader::OnTick& on_tick) {
  return lines_.read(on_tick);
}

void PipedProcess::write_line(const std::string& line) {
  const std::string text = line + "\n";
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t put = ::write(input_, text.data() + at, text.size() - at);
    if (put >= 0)
      at += static_cast<std::size_t>(put);
    else if (errno != EINTR)
      throw Error(Errc::io_error, fmt::format("a child's input: {}", std::strerror(errno)));
  }
}

void PipedProcess::close_input() noexcept { close_one(input_); }

bool PipedProcess::take_end(int flags) {
  if (pid_ < 0) return true;
  rusage used{};
  pid_t ended = 0;
  do ended = ::wait4(pid_, &status_, flags, &used);
  while (ended < 0 && errno == EINTR);
  if (ended == 0) return false;
  cpu_seconds_ = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  pid_ = -1;
  return true;
}

int PipedProcess::wait() {
  take_end(0);
  return status_;
}

}  // namespace spillway::tool
