#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "cache/tensor_id.h"

#include "spillway/cache_reference.h"

namespace spillway::cache {
namespace {

using Sizes = std::vector<std::int64_t>;

TEST(ReferenceTest, LruMissesACycleThatBeladyHitsInPart) {
  const std::vector<TensorId> trace{0, 1, 2, 0, 1, 2, 0, 1, 2};
  const Sizes sizes{3, 1, 1};
  EXPECT_EQ(lru_hits(trace, sizes, 3), Sizes(9, 0)) << "all of 0 must go for 1, and back";
  EXPECT_EQ(belady_hits(trace, sizes, 3), (Sizes{0, 0, 0, 3, 0, 0, 3, 0, 0}));
  EXPECT_EQ(fractional_hits(trace, sizes, 3), (Sizes{0, 0, 0, 3, 0, 0, 3, 0, 0}));
}

TEST(ReferenceTest, PartsFillTheGaps) {
  const std::vector<TensorId> trace{0, 1, 0, 1};
  EXPECT_EQ(belady_hits(trace, Sizes{3, 3}, 5), (Sizes{0, 0, 3, 0}));
  EXPECT_EQ(fractional_hits(trace, Sizes{3, 3}, 5), (Sizes{0, 0, 3, 2}));
}

TEST(ReferenceTest, NothingIsHitWithoutRoomAndAllWithEnough) {
  const std::vector<TensorId> trace{0, 1, 2, 1, 0};
  const Sizes sizes{4, 5, 6};
  for (const auto& policy : {lru_hits, belady_hits, fractional_hits}) {
    EXPECT_EQ(policy(trace, sizes, 0), Sizes(5, 0));
    EXPECT_EQ(policy(trace, sizes, 15), (Sizes{0, 0, 0, 5, 4}));
  }
  EXPECT_DOUBLE_EQ(hit_rate(Sizes{0, 0, 0, 5, 4}, trace, sizes, 0, 5), 9.0 / 24);
  EXPECT_DOUBLE_EQ(hit_rate(Sizes{0, 0, 0, 5, 4}, trace, sizes, 3, 5), 1.0);
  EXPECT_DOUBLE_EQ(hit_rate({}, {}, sizes, 0, 0), 0.0);
}

// The most that any policy hits from access `at` on, by trying all of them.
std::int64_t best(const std::vector<TensorId>& trace, const Sizes& sizes, std::int64_t cap,
                  std::size_t at, unsigned resident) {
  if (at == trace.size()) return 0;
  const std::int64_t hit = resident >> trace[at] & 1 ? sizes[trace[at]] : 0;
  const unsigned after = resident | 1u << trace[at];
  std::int64_t most = 0;
  for (unsigned kept = after;; kept = (kept - 1) & after) {
    std::int64_t used = 0;
    for (std::size_t id = 0; id < sizes.size(); ++id) used += kept >> id & 1 ? sizes[id] : 0;
    if (used <= cap) most = std::max(most, best(trace, sizes, cap, at + 1, kept));
    if (kept == 0) return hit + most;
  }
}

TEST(ReferenceTest, BeladyIsBestForOneSizeAndPartsAreABoundForAll) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto sum = [](const Sizes& hits) {
    return std::accumulate(hits.begin(), hits.end(), std::int64_t{0});
  };
  for (int round = 0; round < 40; ++round) {
    std::vector<TensorId> trace(7);
    for (TensorId& id : trace) id = static_cast<TensorId>(random() % 4);
    const Sizes same(4, 1);
    EXPECT_EQ(sum(belady_hits(trace, same, 2)), best(trace, same, 2, 0, 0));
    Sizes mixed(4);
    for (std::int64_t& size : mixed) size = 1 + static_cast<std::int64_t>(random() % 5);
    const std::int64_t most = best(trace, mixed, 6, 0, 0);
    EXPECT_LE(sum(belady_hits(trace, mixed, 6)), most);
    EXPECT_LE(sum(lru_hits(trace, mixed, 6)), most);
    EXPECT_GE(sum(fractional_hits(trace, mixed, 6)), most);
  }
}

}  // namespace
}  // namespace spillway::cache
