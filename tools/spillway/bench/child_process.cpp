#include "bench/child_process.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace spillway::tool {

std::vector<std::string> child_launcher(bool small_pages) {
  std::vector<std::string> words{"/proc/self/exe", "bench-child",
                                 fmt::format("--parent={}", ::getpid())};
  if (small_pages) words.emplace_back("--small-pages");
  words.emplace_back("--");
  return words;
}

int become_child(int parent, bool small_pages, const std::vector<std::string>& words) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // both survive what follows
  if (small_pages) ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  if (::getppid() != parent) return 1;
  std::vector<std::string> copy = words;
  std::vector<char*> argv;
  for (std::string& word : copy) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  fmt::print(stderr, "{} cannot be started: {}\n", words[0], std::strerror(errno));
  return 127;
}

}  // namespace spillway::tool
