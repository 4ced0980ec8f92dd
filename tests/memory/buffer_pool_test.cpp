#include "memory/buffer_pool.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/align.h"
#include "support/child_process.h"
#include "support/page_memory.h"

#include "spillway/error.h"

namespace spillway {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TimePoint soon() { return deadline_in(0.02); }

template <typename Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {Errc::busy, "no error was thrown"};
}

/// A pool over memory of its own.
struct Fixture {
  Fixture(std::int64_t count, std::int64_t size)
      : memory(BufferPool::region_bytes(count, size)), pool(memory.span(), count, size, "tiles") {}
  PageMemory memory;
  BufferPool pool;
};

TEST(BufferPoolTest, GranulesDivideTheBuffer) {
  struct Case {
    std::int64_t count, size, granule;
  };
  for (const Case& c : {
           Case{3, 1, 4 * KiB}, Case{3, 5000, 8 * KiB}, Case{3, 1 * MiB, 1 * MiB},
           Case{3, 4 * MiB, 2 * MiB}, Case{5, 100 * MiB, 2 * MiB}, Case{3, 3 * MiB, 1536 * KiB},
           Case{5, 100'000'000, 257 * 4 * KiB},  // 24,415 pages = 95 x 257
           Case{2, 521 * 4 * KiB, 4 * KiB},      // a prime number of pages, more than 512
           Case{1, 521 * 4 * KiB, 2 * MiB},      // alone: nobody to lose a rest to
       }) {
    // Only addresses are needed: the pool never touches its memory.
    Fixture f(c.count, c.size);
    EXPECT_EQ(f.pool.granule_bytes(), c.granule) << c.size;
    EXPECT_EQ(f.pool.budget_bytes(), c.count * c.size);
    EXPECT_LE(BufferPool::region_bytes(c.count, c.size) - c.count * c.size, c.count * 4095);
  }
}

TEST(BufferPoolTest, GranulesMayBeSmaller) {
  PageMemory memory(4 * MiB);
  BufferPool pool(memory.span(), 4, MiB, "params", page_bytes, 64 * KiB);
  EXPECT_EQ(pool.granule_bytes(), 64 * KiB);
  std::vector<BufferLease> leases;
  for (int i = 0; i < 3; ++i) {
    leases.push_back(*pool.try_acquire(MiB + 8 * KiB));
    EXPECT_EQ(leases.back().data(), memory.data() + i * (MiB + 64 * KiB));
  }
  EXPECT_EQ(pool.stats().largest_free_run, MiB - 3 * 64 * KiB);
}

// Three buffers of 20 KiB, each on 16 KiB.
TEST(BufferPoolTest, RunsStartOnTheAlignment) {
  const std::int64_t bytes = BufferPool::region_bytes(3, 20 * KiB, 16 * KiB);
  EXPECT_EQ(bytes, (2 * 32 + 20) * KiB);
  alignas(16 * KiB) static std::byte memory[84 * KiB];
  BufferPool pool(std::span(memory, static_cast<std::size_t>(bytes)), 3, 20 * KiB, "tiles",
                  16 * KiB);
  EXPECT_EQ(pool.budget_bytes(), 60 * KiB);
  std::vector<BufferLease> leases;
  for (int i = 0; i < 3; ++i) {
    auto lease = pool.try_acquire(20 * KiB);
    ASSERT_TRUE(lease) << i;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(lease->data()) % (16 * KiB), 0u) << i;
    leases.push_back(std::move(*lease));
  }
}

TEST(BufferPoolTest, AsManyBuffersAsPromisedFitSideBySide) {
  for (const std::int64_t size : {std::int64_t{1}, std::int64_t{100}, std::int64_t{5000}, 64 * KiB,
                                  2 * MiB, 3 * MiB, 521 * 4 * KiB, std::int64_t{10'000'000}}) {
    for (const std::int64_t count : {1, 2, 3, 5}) {
      SCOPED_TRACE(fmt::format("{} x {}", count, size));
      Fixture f(count, size);
      std::vector<BufferLease> leases;
      for (std::int64_t i = 0; i < count; ++i) {
        auto lease = f.pool.try_acquire(size);
        ASSERT_TRUE(lease) << "buffer " << i;
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(lease->data()) % page_bytes, 0u);
        EXPECT_LE(lease->data() + lease->bytes(), f.memory.data() + f.memory.bytes());
        leases.push_back(std::move(*lease));
      }
      EXPECT_FALSE(f.pool.try_acquire(f.pool.granule_bytes()));
    }
  }
}

TEST(BufferPoolTest, OneRunMayBeTheWholeBudget) {
  for (const std::int64_t size :
       {std::int64_t{100}, std::int64_t{5000}, 3 * MiB, std::int64_t{10'000'000}}) {
    PageMemory memory(4 * size);  // the bare product: the last granule is short
    BufferPool pool(memory.span(), 4, size);
    BufferLease all = pool.acquire(4 * size, PoolClass::demand, soon());
    EXPECT_EQ(all.data(), memory.data());
    EXPECT_EQ(all.bytes(), 4 * size);
    std::memset(all.data(), 1, static_cast<std::size_t>(all.bytes()));
    EXPECT_EQ(pool.stats().largest_free_run, 0);
    all.release();
    EXPECT_EQ(pool.stats().largest_free_run, 4 * size);
  }
}

// 10,000 bytes in granules of 8 KiB: the second has only 1,808 bytes.
TEST(BufferPoolTest, TheShortLastGranuleIsNotPromisedInFull) {
  PageMemory memory(10'000);
  BufferPool pool(memory.span(), 2, 5000);
  const auto first = pool.try_acquire(5000);
  EXPECT_FALSE(pool.try_acquire(1809));
  EXPECT_EQ(pool.stats().largest_free_run, 1808);
  EXPECT_TRUE(pool.try_acquire(1808));
}

TEST(BufferPoolTest, RunsFreedInAnyOrderAreOneRunAgain) {
  Fixture f(8, 64 * KiB);
  for (const auto& order : {std::vector<std::size_t>{3, 1, 0, 2}, {0, 1, 2, 3}, {3, 2, 1, 0}}) {
    std::vector<BufferLease> leases;
    for (int i = 0; i < 4; ++i) leases.push_back(*f.pool.try_acquire(2 * 64 * KiB));
    EXPECT_EQ(f.pool.stats().largest_free_run, 0);
    for (const std::size_t i : order) leases[i].release();
    EXPECT_TRUE(f.pool.try_acquire(8 * 64 * KiB));
  }
}

TEST(BufferPoolTest, RequestsThatCanNeverBeServedSayWhatWouldWork) {
  Fixture f(4, 1 * MiB);
  const Error error = error_of(
      [&] { f.pool.acquire(4 * MiB + 1, PoolClass::demand, soon(), "layer 7 of the model"); });
  EXPECT_EQ(error.code(), Errc::does_not_fit);
  EXPECT_THAT(error.what(),
              AllOf(HasSubstr("tiles: layer 7 of the model"), HasSubstr("4194305 bytes"),
                    HasSubstr("buffer_count 5 works"), Not(HasSubstr("\n"))));
  EXPECT_FALSE(f.pool.try_acquire(4 * MiB + 1));
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{-1}, INT64_MIN}) {
    EXPECT_EQ(error_of([&] { f.pool.acquire(bytes, PoolClass::demand, soon()); }).code(),
              Errc::invalid_argument);
    EXPECT_EQ(error_of([&] { f.pool.try_acquire(bytes); }).code(), Errc::invalid_argument);
  }
}

TEST(BufferPoolTest, SizesThatMakeNoPoolAreRefused) {
  PageMemory memory(4 * KiB);
  const std::int64_t large = std::int64_t{1} << 62;
  for (const auto& [count, size] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 1}, {1, 0}, {-1, 4096}, {1, -1}, {2, large}, {large, 2}, {1, INT64_MAX}}) {
    EXPECT_EQ(error_of([&, c = count, s = size] { BufferPool(memory.span(), c, s); }).code(),
              Errc::invalid_argument)
        << count << " x " << size;
  }
}

TEST(BufferPoolTest, CountsWhatItDoes) {
  Fixture f(4, 64 * KiB);
  {
    const auto a = f.pool.try_acquire(1), b = f.pool.try_acquire(65 * KiB);
    EXPECT_FALSE(f.pool.try_acquire(2 * 64 * KiB));
    EXPECT_EQ(f.pool.stats().leased_bytes, 3 * 64 * KiB);
    EXPECT_EQ(a->data(), f.memory.data());
    EXPECT_EQ(b->data(), f.memory.data() + 64 * KiB);
  }
  const PoolStats stats = f.pool.stats();
  EXPECT_EQ(stats.budget_bytes, 4 * 64 * KiB);
  EXPECT_EQ(stats.leased_bytes, 0);
  EXPECT_EQ(stats.peak_bytes, 3 * 64 * KiB);
  EXPECT_EQ(stats.largest_free_run, 4 * 64 * KiB);
  EXPECT_EQ(stats.acquires, 2);
  EXPECT_EQ(stats.refused, 1);
  EXPECT_EQ(stats.waits, 0);
}

TEST(BufferPoolTest, NamesItsHolders) {
  Fixture f(40, 64 * KiB);
  EXPECT_EQ(f.pool.describe_holders(), "0 holders, 0 bytes; largest free run 2.5 MiB");
  std::vector<BufferLease> leases;
  leases.push_back(*f.pool.try_acquire(100 * KiB, "tile 3"));
  leases.push_back(*f.pool.try_acquire(10));
  EXPECT_EQ(f.pool.describe_holders(),
            "2 holders, 192.0 KiB: tile 3 (100.0 KiB), unnamed (10 bytes); largest free run 2.3 "
            "MiB");
  for (int i = 0; i < 30; ++i) leases.push_back(*f.pool.try_acquire(1, "x"));
  EXPECT_THAT(f.pool.describe_holders(), HasSubstr(", and 16 more; largest free run"));
}

TEST(BufferPoolTest, LeasesMove) {
  Fixture f(2, 64 * KiB);
  BufferLease a = *f.pool.try_acquire(64 * KiB);
  std::byte* const at = a.data();
  BufferLease b(std::move(a));
  EXPECT_FALSE(a);
  EXPECT_EQ(b.data(), at);
  BufferLease c = *f.pool.try_acquire(64 * KiB);
  c = std::move(b);
  EXPECT_EQ(c.data(), at);
  EXPECT_EQ(f.pool.stats().leased_bytes, 64 * KiB);
  BufferLease& same = c;
  c = std::move(same);
  EXPECT_EQ(c.data(), at);
  c.release();
  c.release();
  EXPECT_EQ(c.data(), nullptr);
  EXPECT_EQ(f.pool.stats().leased_bytes, 0);
}

TEST(BufferPoolTest, TheCopyInAForkedChildIsLeftAlone) {
  Fixture f(2, 64 * KiB);
  BufferLease lease = *f.pool.try_acquire(64 * KiB);
  const ChildEnd end = in_child([&] {
    lease.release();
    f.pool.~BufferPool();
    return std::string("alive");
  });
  EXPECT_EQ(end.said, "alive");
  EXPECT_TRUE(end.clean());
}

TEST(BufferPoolDeathTest, ALeaseMustNotOutliveItsPool) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::optional<Fixture> f(std::in_place, 2, 64 * KiB);
        const auto lease = f->pool.try_acquire(1);
        f.reset();
      },
      "a lease outlives its pool");
}

#if defined(__SANITIZE_ADDRESS__)
TEST(BufferPoolDeathTest, AddressSanitizerSeesStoresOutsideALease) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Fixture f(4, 64 * KiB);
  BufferLease lease = *f.pool.try_acquire(1003);
  volatile std::byte* const at = lease.data();
  at[1002] = std::byte{1};
  EXPECT_DEATH(at[1003] = std::byte{1}, "use-after-poison");
  EXPECT_DEATH(at[64 * KiB] = std::byte{1}, "use-after-poison");
  lease.release();
  EXPECT_DEATH(at[0] = std::byte{1}, "use-after-poison");
}
#endif

}  // namespace
}  // namespace spillway
