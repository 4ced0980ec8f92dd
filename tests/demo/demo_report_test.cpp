#include "demo_report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace spillway::demo {
namespace {

Report sample() {
  Report report;
  report.model = "tiny";
  report.layers = report.whole_layers = 2;
  report.tensors = 19;
  report.params = 1'000'000;
  report.steps = 3;
  report.threads = 2;
  report.kernel = "avx2";
  report.step_seconds = {0.3, 0.1, 0.2};
  report.in_memory_step_seconds = {0.1, 0.1, 0.1};
  report.bytes_read = 36'000'000;
  report.bytes_written = 18'000'000;
  report.stall_read_seconds = 0.15;
  report.bytes_read_per_param = 12;
  report.bytes_written_per_param = 12;
  report.peak_rss_bytes = 100;
  report.optimizer.memory.region_bytes = 60;
  report.optimizer.memory.resident_share_bytes = 30;
  return report;
}

TEST(DemoReportTest, ADifferenceIsLoudAndFalse) {
  Report report = sample();
  report.difference = Difference{"h.3.mlp.c_fc.weight", "exp_avg_sq"};
  EXPECT_NE(to_table(report).find("NOT BIT EXACT: exp_avg_sq of h.3.mlp.c_fc.weight"),
            std::string::npos);
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["bit_exact"], false);
  EXPECT_EQ(json["first_difference"]["tensor"], "h.3.mlp.c_fc.weight");
  EXPECT_EQ(json["first_difference"]["state"], "exp_avg_sq");
}

TEST(DemoReportTest, WhatWasNotComparedIsNeitherTrueNorFalse) {
  Report report = sample();
  report.in_memory_step_seconds.clear();
  report.in_memory_left_out = "it needs 12 GiB";
  EXPECT_NE(to_table(report).find("Not compared: it needs 12 GiB"), std::string::npos);
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_TRUE(json["bit_exact"].is_null());
  EXPECT_TRUE(json["in_memory_step_seconds"].empty());
  EXPECT_EQ(json["in_memory_left_out"], "it needs 12 GiB");
}

TEST(DemoReportTest, FiguresAreWhatTheySay) {
  const auto json = nlohmann::json::parse(to_json(sample()));
  EXPECT_EQ(json["bit_exact"], true);
  EXPECT_TRUE(json["first_difference"].is_null());
  EXPECT_NEAR(json["waiting_share"].get<double>(), 0.25, 1e-9);       // 0.15 of 0.6 s
  EXPECT_NEAR(json["read_gb_per_second"].get<double>(), 0.06, 1e-9);  // 36 MB in 0.6 s
  EXPECT_EQ(json["rss_over_pool_bytes"], 10);
  EXPECT_EQ(json["direct_io"], false);  // no path at all
}

TEST(DemoReportTest, ATruncatedModelSaysSo) {
  Report report = sample();
  report.layers = 1;
  EXPECT_NE(to_table(report).find("the first 1 of 2 layers"), std::string::npos);
}

TEST(DemoReportTest, NumbersForPeople) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(124'439'808), "124,439,808");
  EXPECT_EQ(grouped(-1234), "-1,234");
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(4 * 1024 * 1024), "4 MiB");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

}  // namespace
}  // namespace spillway::demo
