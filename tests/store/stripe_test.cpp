#include "store/stripe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace spillway::store {
namespace {

std::vector<Stripe::Run> runs_of(const Stripe& stripe, std::int64_t bytes, int rotation) {
  std::vector<Stripe::Run> runs;
  stripe.for_each_run(bytes, rotation, [&](const Stripe::Run& run) { runs.push_back(run); });
  return runs;
}

TEST(StripeTest, OnePathIsOneRun) {
  const Stripe stripe(std::vector<std::int64_t>{7}, 4096);
  const auto runs = runs_of(stripe, std::int64_t{9} << 30, 0);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].bytes, std::int64_t{9} << 30);
  EXPECT_EQ(stripe.max_runs(std::int64_t{9} << 30), 1);
}

TEST(StripeTest, TheExampleOfTheHeader) {
  const Stripe stripe(std::vector<std::int64_t>{1, 1}, 1024);
  const auto runs = runs_of(stripe, 2560, 1);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].path, 1);
  EXPECT_EQ(runs[1].path, 0);
  EXPECT_EQ(runs[2].path, 1);
  EXPECT_EQ(runs[2].at, 2048);
  EXPECT_EQ(runs[2].offset, 1024);
  EXPECT_EQ(runs[2].bytes, 512);
  EXPECT_EQ(stripe.share(0, 2560, 1), 1024);
  EXPECT_EQ(stripe.share(1, 2560, 1), 1536);
}

TEST(StripeTest, WeightsAreSpreadSmoothly) {
  const Stripe stripe(std::vector<std::int64_t>{200, 100}, 10);
  ASSERT_EQ(stripe.period(), 3);
  const auto runs = runs_of(stripe, 30, 0);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].path, 0);
  EXPECT_EQ(runs[1].path, 1);
  EXPECT_EQ(runs[2].path, 0);
}

TEST(StripeTest, NeighbouringUnitsOfOnePathAreOneRun) {
  const Stripe stripe(std::vector<std::int64_t>{3, 1}, 10);
  // 0 0 1 0 | 0 0 1 0: in the middle three units of path 0 lie side by side.
  const auto runs = runs_of(stripe, 80, 0);
  const auto longest = std::max_element(
      runs.begin(), runs.end(),
      [](const Stripe::Run& a, const Stripe::Run& b) { return a.bytes < b.bytes; });
  EXPECT_EQ(longest->bytes, 30);
}

TEST(StripeTest, OddWeightsKeepTheirRatioAboutAndNobodyIsLeftOut) {
  const Stripe stripe(std::vector<std::int64_t>{1'000'003, 499'979, 1}, 1);
  EXPECT_LE(stripe.period(), 300);
  const auto a = static_cast<double>(stripe.share(0, stripe.period(), 0));
  const auto b = static_cast<double>(stripe.share(1, stripe.period(), 0));
  EXPECT_NEAR(a / b, 2.0, 0.05);
  EXPECT_GE(stripe.share(2, stripe.period(), 0), 1);
}

// Every byte of a section lies in exactly one place, and the extents are filled without gaps.
TEST(StripeTest, RunsCoverTheSectionAndFillTheExtents) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::int64_t> weights(1 + random() % 5);
    for (std::int64_t& weight : weights) weight = 1 + random() % 9;
    const std::int64_t unit = 1 + random() % 64;
    const Stripe stripe(weights, unit);
    const std::int64_t bytes = 1 + random() % 2000;
    const int rotation = static_cast<int>(random() % static_cast<unsigned>(stripe.period()));

    std::vector<std::int64_t> filled(weights.size(), 0);
    std::int64_t at = 0;
    const auto runs = runs_of(stripe, bytes, rotation);
    for (const Stripe::Run& run : runs) {
      ASSERT_EQ(run.at, at);
      ASSERT_EQ(run.offset, filled[static_cast<std::size_t>(run.path)]);
      ASSERT_GT(run.bytes, 0);
      at += run.bytes;
      filled[static_cast<std::size_t>(run.path)] += run.bytes;
    }
    ASSERT_EQ(at, bytes);
    ASSERT_EQ(runs.front().path, stripe.path_at(rotation));
    ASSERT_LE(static_cast<std::int64_t>(runs.size()), stripe.max_runs(bytes));
    for (std::size_t path = 0; path < weights.size(); ++path) {
      ASSERT_EQ(filled[path], stripe.share(static_cast<int>(path), bytes, rotation));
    }
  }
}

// Whatever their size, sections fill the paths by their weights: also those smaller or a little
// larger than a unit, where the units of each slot alone would not.
TEST(StripeTest, RotationSpreadsSmallSections) {
  constexpr std::int64_t unit = 1 << 20;
  for (const std::vector<std::int64_t>& weights :
       {std::vector<std::int64_t>{1, 1}, {1, 1, 1}, {2, 1}, {5, 3, 1}, {100, 73}}) {
    const Stripe stripe(weights, unit);
    for (const std::int64_t bytes : {std::int64_t{4096}, unit / 2, unit, unit + 4096, unit * 3 / 2,
                                     unit * 5 / 2, 4 * unit, 4 * unit + 4096, 6 * unit}) {
      std::vector<std::int64_t> loads(weights.size(), 0);
      int rotation = 0;
      for (int slot = 0; slot < 3000; ++slot) {
        rotation = stripe.next_rotation(loads, bytes, rotation + 1);
        for (std::size_t path = 0; path < loads.size(); ++path) {
          loads[path] += stripe.share(static_cast<int>(path), bytes, rotation);
        }
      }
      const double per_weight = static_cast<double>(loads[0]) / static_cast<double>(weights[0]);
      for (std::size_t path = 1; path < loads.size(); ++path) {
        EXPECT_NEAR(
            static_cast<double>(loads[path]) / static_cast<double>(weights[path]) / per_weight, 1.0,
            0.01)
            << bytes << " bytes, path " << path;
      }
    }
  }
}

// With guards every path that has a part has a place of its own for a trailer: behind its units,
// inside its extent, whatever the rotation, in a slot that is longer than the section too.
TEST(StripeTest, GuardsLieBehindTheUnitsOfEveryPathButTheLast) {
  for (const std::vector<std::int64_t>& weights :
       std::vector<std::vector<std::int64_t>>{{1}, {1, 1}, {3, 1}, {2, 1, 1}}) {
    const Stripe stripe(weights, 8192, 4096);
    for (const std::int64_t body : {4096, 8192, 12288, 16384, 40960, 81920}) {
      for (int rotation = 0; rotation < stripe.period(); ++rotation) {
        const std::int64_t slot = body + body / 8 / 4096 * 4096;
        std::vector<std::int64_t> end(weights.size(), 0);
        std::int64_t runs = 0, in_body = 0, guards = 0;
        stripe.for_each_run(body, rotation, [&](const Stripe::Run& run) {
          ++runs;
          const auto path = static_cast<std::size_t>(run.path);
          EXPECT_EQ(run.offset, end[path]) << "one behind the other";
          end[path] += run.bytes;
          if (run.at < body) {
            in_body += run.bytes;
          } else {
            EXPECT_EQ(run.at, body + guards++ * 4096);
            EXPECT_NE(run.path, stripe.path_at_end(body, rotation));
          }
        });
        EXPECT_EQ(in_body, body);
        EXPECT_LE(guards, stripe.guards(body));
        EXPECT_LE(runs, stripe.max_runs(body));
        for (int path = 0; path < stripe.paths(); ++path) {
          EXPECT_LE(end[static_cast<std::size_t>(path)], stripe.share(path, slot, rotation));
        }
        std::int64_t parts = 0;
        for (const std::int64_t bytes : end) parts += bytes > 0;
        EXPECT_EQ(guards, parts - 1);
      }
    }
  }
}

}  // namespace
}  // namespace spillway::store
