#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "support/temp_dir.h"

namespace spillway {

/// The spillway program, run in a fresh directory as a user would run it.
class CliProgram {
 public:
  struct End {
    int status = -1;  ///< exit status; 1000 + N after signal N
    std::string out, err;

    /// Of `err`, behind the warnings.
    std::string last_line() const {
      const std::size_t end = err.find_last_not_of('\n') + 1;
      const std::size_t before = err.find_last_of('\n', end == 0 ? 0 : end - 1);
      return before == std::string::npos ? err.substr(0, end)
                                         : err.substr(before + 1, end - before - 1);
    }
  };

  /// Where it runs; empty at first.
  const TempDir& here() const { return here_; }

  /// Called in the child before it becomes the program: to set limits. Must not allocate.
  std::function<void()> prepare;

  End run(const std::vector<std::string>& arguments) {
    start(arguments);
    return wait();
  }

  void start(const std::vector<std::string>& arguments) {
    std::vector<std::string> words{SPILLWAY_CLI};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string out = (said_.path() / "out").string();
    const std::string err = (said_.path() / "err").string();
    child_ = ::fork();
    if (child_ != 0) return;
    const auto to = [](const std::string& file, int fd) {
      ::dup2(::open(file.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), fd);
    };
    to(out, STDOUT_FILENO);
    to(err, STDERR_FILENO);
    if (::chdir(here_.path().c_str()) != 0) ::_exit(127);
    if (prepare) prepare();
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

  void send(int signal) const { ::kill(child_, signal); }

  bool running() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }

  End wait() {
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    const auto text = [this](const char* name) {
      std::ifstream stream(said_.path() / name);
      return std::string{std::istreambuf_iterator<char>(stream), {}};
    };
    return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status),
            .out = text("out"),
            .err = text("err")};
  }

 private:
  TempDir here_, said_;
  pid_t child_ = -1;
};

}  // namespace spillway
