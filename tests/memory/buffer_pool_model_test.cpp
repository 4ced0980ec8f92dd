// Random work against a ten-line model, and by many threads at once.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/align.h"
#include "memory/buffer_pool.h"
#include "support/page_memory.h"

#include "spillway/error.h"

namespace spillway {
namespace {

/// SPILLWAY_SEED repeats a run; SPILLWAY_MODEL_STEPS makes it long.
std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// The lowest run of free granules; `owner` 0 is free.
struct Model {
  std::int64_t granule, bytes;
  std::vector<int> owner = std::vector<int>(static_cast<std::size_t>(divide_up(bytes, granule)));

  std::int64_t take(std::int64_t wanted, int name) {
    const auto n = static_cast<std::size_t>(divide_up(wanted, granule));
    for (std::size_t i = 0; i + n <= owner.size(); ++i) {
      const bool free = std::all_of(&owner[i], &owner[i] + n, [](int o) { return o == 0; });
      if (!free || static_cast<std::int64_t>(i) * granule + wanted > bytes) continue;
      std::fill_n(&owner[i], n, name);
      return static_cast<std::int64_t>(i);
    }
    return -1;
  }
  void give(int name) { std::replace(owner.begin(), owner.end(), name, 0); }
};

TEST(BufferPoolModelTest, LeasesWhatTheModelLeases) {
  const std::uint64_t seed = from_environment("SPILLWAY_SEED", std::random_device{}());
  const std::uint64_t steps = from_environment("SPILLWAY_MODEL_STEPS", 4000);
  SCOPED_TRACE(fmt::format("SPILLWAY_SEED={}", seed));
  std::mt19937_64 random(seed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };

  for (int round = 0; round < 4; ++round) {
    const std::int64_t count = 1 + below(12), size = 1 + below(below(2) ? 9'000 : 9'000'000);
    SCOPED_TRACE(fmt::format("{} x {}", count, size));
    PageMemory memory(BufferPool::region_bytes(count, size));
    BufferPool pool(memory.span(), count, size);
    Model model{pool.granule_bytes(), memory.bytes()};
    std::map<int, BufferLease> leases;
    for (std::uint64_t step = 0; step < steps / 4; ++step) {
      const int name = static_cast<int>(step) + 1;
      if (leases.empty() || below(100) < 55) {
        const std::int64_t bytes = 1 + below(below(8) == 0 ? count * size : size);
        const std::int64_t expected = model.take(bytes, name);
        auto lease = pool.try_acquire(bytes);
        ASSERT_EQ(lease.has_value(), expected >= 0) << "step " << step;
        if (!lease) continue;
        ASSERT_EQ(lease->data(), memory.data() + expected * pool.granule_bytes())
            << "step " << step;
        lease->data()[0] = lease->data()[bytes - 1] = static_cast<std::byte>(name);
        leases.emplace(name, std::move(*lease));
      } else {
        auto given = std::next(leases.begin(), below(static_cast<std::int64_t>(leases.size())));
        const std::byte mark = static_cast<std::byte>(given->first);
        ASSERT_EQ(given->second.span().front(), mark) << "somebody else wrote here";
        ASSERT_EQ(given->second.span().back(), mark) << "somebody else wrote here";
        model.give(given->first);
        leases.erase(given);
      }
    }
    leases.clear();
    EXPECT_EQ(pool.stats().leased_bytes, 0);
    EXPECT_EQ(pool.stats().largest_free_run, memory.bytes());
  }
}

// Every thread fills its run with its own mark and finds nothing else there afterwards.
TEST(BufferPoolModelTest, ManyThreadsNeverShareAByte) {
  constexpr int threads = 6, rounds = 400;
  constexpr std::int64_t size = 8 * KiB;
  PageMemory memory(8 * size);
  BufferPool pool(memory.span(), 8, size);
  std::atomic<int> shared{0}, failed{0};
  std::vector<std::jthread> workers;
  for (int worker = 0; worker < threads; ++worker)
    workers.emplace_back([&, worker] {
      std::minstd_rand random(static_cast<unsigned>(worker) + 1);
      for (int round = 0; round < rounds; ++round) {
        const auto bytes =
            1 + static_cast<std::int64_t>(random()) % (round % 16 ? 2 * size : 8 * size);
        BufferLease lease;
        if (worker % 3 == 0) {
          if (auto got = pool.try_acquire(bytes, "ahead")) lease = std::move(*got);
        } else {
          const auto service = worker % 3 == 1 ? PoolClass::demand : PoolClass::prefetch;
          try {
            lease = pool.acquire(bytes, service, deadline_in(60), "worker");
          } catch (const Error&) {
            ++failed;
          }
        }
        if (!lease) continue;
        const auto mark = static_cast<std::byte>(worker + 1);
        std::fill(lease.span().begin(), lease.span().end(), mark);
        if (round % 8 == 0) std::this_thread::yield();
        for (const std::byte byte : lease.span()) shared += byte != mark;
      }
    });
  workers.clear();
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(pool.stats().leased_bytes, 0);
  EXPECT_EQ(pool.stats().largest_free_run, 8 * size);
}

}  // namespace
}  // namespace spillway
