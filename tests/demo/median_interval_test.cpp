// The statistics of the benchmark that makes the figure.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

#include "bench/spread.h"

namespace spillway::tool {
namespace {

// From tables of the binomial distribution.
TEST(MedianIntervalTest, RanksAreThoseOfTheTables) {
  EXPECT_EQ(values_outside(5), 0U);
  EXPECT_EQ(values_outside(6), 0U);
  EXPECT_EQ(values_outside(9), 1U);
  EXPECT_EQ(values_outside(12), 2U);
  EXPECT_EQ(values_outside(21), 5U);
  EXPECT_EQ(values_outside(100), 39U);

  std::vector<double> values(21);
  std::iota(values.begin(), values.end(), 1.0);
  std::shuffle(values.begin(), values.end(), std::mt19937(1));
  const Spread interval = spread_of(values);
  EXPECT_EQ(interval.median, 11);
  EXPECT_EQ(interval.low, 6);
  EXPECT_EQ(interval.high, 16);
  EXPECT_EQ(spread_of({4.0}).high, 4.0);
  EXPECT_EQ(spread_of({4.0, 2.0}).median, 3.0);
}

TEST(MedianIntervalTest, ItCoversTheMedianAsOftenAsItSays) {
  std::mt19937 random(2);
  std::exponential_distribution<double> skewed(1.0);
  const double truth = std::log(2.0);
  int covered = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<double> values(21);
    for (double& value : values) value = skewed(random);
    const Spread interval = spread_of(values);
    covered += interval.low <= truth && truth <= interval.high ? 1 : 0;
  }
  EXPECT_NEAR(covered / 2000.0, 0.973, 0.015);
}

}  // namespace
}  // namespace spillway::tool
