#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#ifdef SPILLWAY_COVERAGE
extern "C" void __gcov_dump();
#endif

namespace spillway {

/// The end of a forked child, without the destructors of the test: but what it has run counts.
[[noreturn]] inline void end_child(int status) {
#ifdef SPILLWAY_COVERAGE
  __gcov_dump();
#endif
  ::_exit(status);
}

/// fork(), which the C library's allocator survives whatever other threads do. That of the address
/// sanitizer does not: if one of them is in the middle of an allocation, the child's first waits
/// for ever. So with that the others must all be asleep, for as long as a second.
inline pid_t fork_beside_threads() {
#if defined(__SANITIZE_ADDRESS__)
  const auto all_asleep = [] {
    int awake = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string line;
      std::getline(std::ifstream(task.path() / "stat"), line);
      const std::size_t end = line.rfind(')');  // of the name, which may hold anything
      if (end != std::string::npos && end + 2 < line.size() && line[end + 2] == 'R') ++awake;
    }
    return awake <= 1;  // this one
  };
  for (int quiet = 0, looks = 0; quiet < 3 && looks < 1000; ++looks) {
    quiet = all_asleep() ? quiet + 1 : 0;
    ::usleep(1000);
  }
#endif
  return ::fork();
}

/// What a forked child said and how it ended.
struct ChildEnd {
  int status = -1;   ///< as of waitpid
  std::string said;  ///< what its function returned, or "exception: ..." with the text
  bool clean() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

/// Runs `work` in a forked child and waits for its end. For what a process does to itself for good:
/// limits, user ids, death. Google Test does not know of the child: it answers in words, and the
/// parent judges them.
inline ChildEnd in_child(const std::function<std::string()>& work) {
  ChildEnd end;
  std::array<int, 2> pipe_ends{};
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return end;
  const pid_t child = fork_beside_threads();
  if (child < 0) return end;
  if (child == 0) {
    std::string said;
    try {
      said = work();
    } catch (const std::exception& error) {
      said = std::string("exception: ") + error.what();
    }
    const auto sent = ::write(pipe_ends[1], said.data(), said.size());
    end_child(sent == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  ::close(pipe_ends[1]);
  std::array<char, 4096> piece{};
  for (;;) {
    const auto got = ::read(pipe_ends[0], piece.data(), piece.size());
    if (got > 0) end.said.append(piece.data(), static_cast<std::size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) break;
  }
  ::close(pipe_ends[0]);
  while (::waitpid(child, &end.status, 0) < 0 && errno == EINTR) {
  }
  return end;
}

/// Makes this process (a child of the test, started as root) an ordinary user. Root ignores limits.
inline void become_nobody() {
  constexpr unsigned nobody = 65534;
  if (::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0)
    ::_exit(99);
}

inline void limit_locked_memory(std::int64_t bytes) {
  const rlimit limit{static_cast<rlim_t>(bytes), static_cast<rlim_t>(bytes)};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) ::_exit(98);
}

}  // namespace spillway
