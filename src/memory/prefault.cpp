#include "memory/prefault.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include "base/align.h"
#include "sys/host_memory.h"
#include "sys/limits.h"
#include "sys/process.h"

namespace spillway {
namespace {

constexpr std::int64_t slice_bytes = 16 * MiB;  // whole huge pages; a few ms each
constexpr std::int64_t most_threads = 8;

/// Slices are taken, not dealt: a thread that gets slow memory takes fewer.
struct Work {
  sys::HostMemory& memory;
  std::byte* at;
  std::int64_t bytes;
  std::atomic<std::int64_t> next{0};
  std::atomic<int> error{0};

  void run() noexcept {
    while (error.load(std::memory_order_relaxed) == 0) {
      const std::int64_t from = next.fetch_add(slice_bytes, std::memory_order_relaxed);
      if (from >= bytes) return;
      const int failed = memory.populate(at + from, std::min(slice_bytes, bytes - from));
      int none = 0;
      if (failed != 0) error.compare_exchange_strong(none, failed);
    }
  }
};

}  // namespace

int prefault(sys::HostMemory& memory, std::byte* at, std::int64_t bytes) {
  Work work{memory, at, bytes};
  const std::int64_t wanted =
      std::min<std::int64_t>({sys::online_cpus(), most_threads, divide_up(bytes, slice_bytes)});
  std::vector<std::jthread> others;
  try {
    for (std::int64_t i = 1; i < wanted; ++i)
      others.emplace_back([&work] {
        sys::block_all_signals();
        sys::name_thread("spillway-fault");
        work.run();
      });
  } catch (const std::system_error&) {
    // No more threads (ulimit -u): those that there are do it all.
  }
  work.run();
  others.clear();  // joins
  return work.error;
}

}  // namespace spillway
