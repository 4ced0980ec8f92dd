// Which rates of `bench io` are told, and what they are shares of.
#include "bench/io_result.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "bench/io_report.h"

namespace spillway::io_bench {
namespace {

using Runs = std::vector<Run>;  // inside a test Run is another thing

constexpr std::int64_t GB = 1'000'000'000;

Run run_of(double gb_per_second, bool counted = true) {
  const auto bytes = static_cast<std::int64_t>(2 * gb_per_second * GB);
  Run run{.bytes_read = bytes, .seconds = 2, .cpu_seconds = 0.02, .moved = {}};
  if (counted) run.moved = tool::DeviceCounters{.read_bytes = bytes, .written_bytes = 0};
  return run;
}

GroupResult group_of(std::vector<Run> ours) {
  GroupResult group{.group = {LoadPattern::read, 1 << 20, 8},
                    .series = {},
                    .fio_before = {run_of(2.0), run_of(3.0), run_of(4.0)},
                    .fio_after = {run_of(4.0), run_of(3.0), run_of(4.0)},
                    .fio_small = {run_of(1.0), run_of(1.5), run_of(1.0)}};
  group.series.push_back({.asked = EngineChoice::automatic,
                          .engine = "io_uring",
                          .features = {},
                          .reasons = {},
                          .runs = std::move(ours)});
  return group;
}

TEST(AboveCountersTest, TheDisksMustHaveMovedIt) {
  const tool::DeviceCounters moved{.read_bytes = 10 * GB, .written_bytes = 1 * GB};
  EXPECT_EQ(tool::above_counters(10 * GB, 1 * GB, moved), "");
  EXPECT_EQ(tool::above_counters(0, 0, moved), "") << "others may move as much as they like";
  EXPECT_NE(tool::above_counters(10 * GB + GB / 5, 0, moved), "");
  EXPECT_NE(tool::above_counters(0, 2 * GB, moved), "");
}

// 1 % and 1 MiB may be missing.
TEST(AboveCountersTest, TheSlackIsSmall) {
  const tool::DeviceCounters moved{.read_bytes = 10 * GB, .written_bytes = 0};
  const std::int64_t most = 10 * GB + GB / 10 + (1 << 20);
  EXPECT_EQ(tool::above_counters(most, 0, moved), "");
  EXPECT_NE(tool::above_counters(most + 2, 0, moved), "");
  EXPECT_EQ(tool::above_counters(0, 1 << 20, moved), "");
  EXPECT_NE(tool::above_counters(0, (1 << 20) + 1, moved), "");
}

TEST(FiguresTest, SharesAreOfTheFioOfTheSameRound) {
  const GroupResult group = group_of({run_of(3.0), run_of(2.7), run_of(3.6)});
  const Figures figures = figures_of(group, group.series[0]);
  EXPECT_EQ(figures.withheld, "");
  ASSERT_TRUE(figures.gbps && figures.share && figures.control && figures.share_of_small);
  EXPECT_NEAR(figures.gbps->median, 3.0, 1e-9);
  EXPECT_NEAR(figures.gbps->min, 2.7, 1e-9);
  EXPECT_NEAR(figures.gbps->max, 3.6, 1e-9);
  EXPECT_NEAR(figures.share->median, 0.9, 1e-9);
  EXPECT_NEAR(figures.share->max, 1.0, 1e-9);
  EXPECT_NEAR(figures.control->max, 2.0, 1e-9);
  EXPECT_NEAR(figures.share_of_small->min, 1.8, 1e-9);
  EXPECT_NEAR(figures.cpu->median, 0.02 / (6e9 / (1 << 30)), 1e-9);
}

TEST(FiguresTest, ARateAboveTheCountersIsWithheld) {
  Runs runs{run_of(3.0), run_of(2.7), run_of(3.6)};
  runs[1].moved->read_bytes /= 2;
  const GroupResult group = group_of(runs);
  const Figures figures = figures_of(group, group.series[0]);
  EXPECT_NE(figures.withheld.find("the disks moved only"), std::string::npos);
  EXPECT_FALSE(figures.gbps);
  EXPECT_FALSE(figures.share);
  EXPECT_FALSE(figures.share_of_small);
  EXPECT_FALSE(figures.cpu);
  EXPECT_TRUE(figures.ceiling) << "fio's own are true";
}

TEST(FiguresTest, SoIsACeilingAboveThem) {
  GroupResult group = group_of({run_of(3.0), run_of(2.7), run_of(3.6)});
  group.fio_after[2].moved->read_bytes = 0;
  const Figures figures = figures_of(group, group.series[0]);
  EXPECT_TRUE(figures.gbps);
  EXPECT_FALSE(figures.ceiling);
  EXPECT_FALSE(figures.share);
  EXPECT_FALSE(figures.control);
  EXPECT_TRUE(figures.share_of_small);
}

TEST(FiguresTest, WhereNothingCountsOrThereIsNoFio) {
  GroupResult group = group_of({run_of(3.0, false), run_of(2.0, false)});
  group.fio_before = group.fio_after = group.fio_small = {};
  const Figures figures = figures_of(group, group.series[0]);
  ASSERT_TRUE(figures.gbps);
  EXPECT_NEAR(figures.gbps->median, 2.5, 1e-9);
  EXPECT_FALSE(figures.ceiling);
  EXPECT_FALSE(figures.share);
}

Report report_of(GroupResult group) {
  Report report;
  report.plan.paths = {"/mnt"};
  report.plan.groups = {group.group};
  report.plan.fio = true;
  report.fio_engine = "io_uring";
  report.fio_huge_pages = true;
  report.paths.resize(1);
  report.paths[0].direct_io = true;
  report.groups.push_back(std::move(group));
  return report;
}

TEST(IoReportTest, JsonHasNullWhereTheTextSaysWithheld) {
  Runs runs{run_of(3.0)};
  runs[0].moved->read_bytes = 0;
  const Report report = report_of(group_of(runs));
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_TRUE(json["results"][0]["gbps"].is_null());
  EXPECT_TRUE(json["results"][0]["withheld"].is_string());
  const std::string text = to_text(report);
  EXPECT_NE(text.find("withheld: "), std::string::npos) << text;
  EXPECT_EQ(text.find("3.00 [3.00, 3.00]"), std::string::npos) << text;
}

TEST(IoReportTest, SaysBufferedWhereItIs) {
  Report report = report_of(group_of({run_of(3.0)}));
  EXPECT_NE(to_text(report).find("direct I/O"), std::string::npos);
  EXPECT_EQ(to_text(report).find("BUFFERED"), std::string::npos);
  report.paths.emplace_back();
  EXPECT_NE(to_text(report).find("BUFFERED"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(to_json(report))["results"][0]["direct_io"], false);
}

}  // namespace
}  // namespace spillway::io_bench
