#include "sys/process.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace spillway::sys {
namespace {

/// The descriptors that a forked child closes. The mutex is taken in fork()'s prepare handler, so
/// that no other thread is halfway through the list when the child gets its copy.
struct ChildList {
  std::mutex mutex;
  std::vector<int> descriptors;
};

// Never destroyed: a fork may come while the process exits.
ChildList& child_list() {
  static ChildList& list = *new ChildList;
  return list;
}

void before_fork() { child_list().mutex.lock(); }
void after_fork_in_parent() { child_list().mutex.unlock(); }
void after_fork_in_child() {
  ChildList& list = child_list();
  for (const int descriptor : list.descriptors) ::close(descriptor);
  list.descriptors.clear();  // frees nothing: the heap may be locked by a thread that is gone
  list.mutex.unlock();
}

void watch_forks_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    child_list();
    SPILLWAY_CHECK(::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0,
                   "no memory for a fork handler");
  });
}

void drop_one(std::vector<int>& descriptors, int descriptor) noexcept {
  const auto at = std::find(descriptors.begin(), descriptors.end(), descriptor);
  if (at != descriptors.end()) descriptors.erase(at);
}

/// The first line of a small file; empty where there is none.
std::string first_line(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::array<char, 256> text{};
  const auto got = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (got <= 0) return {};
  const std::string_view all(text.data(), static_cast<std::size_t>(got));
  return std::string(all.substr(0, all.find('\n')));
}

}  // namespace

void block_all_signals() noexcept {
  sigset_t set;
  sigfillset(&set);
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) sigdelset(&set, fault);
  ::pthread_sigmask(SIG_SETMASK, &set, nullptr);
}

SignalsBlocked::SignalsBlocked() noexcept {
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before_);
  block_all_signals();
}

SignalsBlocked::~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

void name_thread(const char* name) noexcept {
  std::array<char, 16> cut{};  // the kernel's limit, with the final zero
  std::strncpy(cut.data(), name, cut.size() - 1);
  ::pthread_setname_np(::pthread_self(), cut.data());
}

void prefer_latency() noexcept {
  // struct sched_attr of sched_setattr(2) in its first version; glibc has no wrapper.
  struct {
    std::uint32_t size = 48;
    std::uint32_t policy = 0;  // SCHED_OTHER
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 100'000;  // [ns] the slice; its least
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
  } attributes;
  errno = 0;
  attributes.nice = ::getpriority(PRIO_PROCESS, 0);
  if (errno != 0) return;
  static_cast<void>(::syscall(SYS_sched_setattr, 0, &attributes, 0));
}

double process_cpu_seconds() noexcept {
  timespec used{};
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0) return 0;
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

int process_id() noexcept { return ::getpid(); }

std::string host_tag() {
  std::string identity = first_line("/etc/machine-id");
  // Containers often have no machine id. The boot id is safe in its place: two hosts never share
  // it, and what a reboot leaves behind is then left alone instead of swept.
  if (identity.empty() || identity == "uninitialized")
    identity = first_line("/proc/sys/kernel/random/boot_id");
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  identity += '\n';
  identity += host.data();
  return fmt::format("{:016x}", XXH3_64bits(identity.data(), identity.size()));
}

void close_in_child(int descriptor) {
  watch_forks_once();
  ChildList& list = child_list();
  std::lock_guard lock(list.mutex);
  list.descriptors.push_back(descriptor);
}

void forget_and_close(int descriptor) noexcept {
  ChildList& list = child_list();
  std::lock_guard lock(list.mutex);  // no fork between the two: its child would keep it open
  drop_one(list.descriptors, descriptor);
  ::close(descriptor);
}

}  // namespace spillway::sys
