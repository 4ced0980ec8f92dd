// spillway bench step, run as a user runs it. What it says of bytes is asserted; what it says of
// seconds is only there, and its own sums are right.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "cli_program.h"
#include "json_of_run.h"

namespace spillway {
namespace {

using nlohmann::json;

json bench(std::vector<std::string> arguments) {
  std::vector<std::string> first{"bench",    "step", "--model",   "tiny", "--tile-size", "256KiB",
                                 "--rounds", "2",    "--threads", "2",    "--json"};
  if (std::ranges::count(arguments, "--ceiling") == 0)
    first.insert(first.end(), {"--ceiling", "engine"});
  if (std::ranges::count(arguments, "--seconds") == 0)
    first.insert(first.end(), {"--seconds", "0"});
  arguments.insert(arguments.begin(), first.begin(), first.end());
  return json_of_run(arguments);
}

void expect_spread(const json& spread, const std::string& name) {
  SCOPED_TRACE(name + " " + spread.dump());
  ASSERT_TRUE(spread.is_object());
  EXPECT_GE(spread["median"], spread["min"]);
  EXPECT_LE(spread["median"], spread["max"]);
  EXPECT_GE(spread["min"].get<double>(), 0);
}

constexpr const char* measured[] = {
    "step_seconds",        "bound_seconds",        "unpipelined_seconds", "io_seconds",
    "in_memory_seconds",   "times_bound",          "times_first",         "gbps",
    "ceiling_gbps",        "bytes_read",           "bytes_written",       "stall_read_seconds",
    "stall_write_seconds", "stall_buffer_seconds", "compute_seconds",     "checksum_seconds"};

TEST(BenchStepTest, JsonHoldsWhatIsPromised) {
  const json result = bench({"--flags", "both,write,read,none"});
  EXPECT_TRUE(result["machine"].is_object());
  EXPECT_TRUE(result["machine"]["kernel"].is_string());
  EXPECT_EQ(result["ceiling"], "engine");
  EXPECT_EQ(result["state_bytes"], 12 * result["params"].get<std::int64_t>());
  ASSERT_EQ(result["results"].size(), 4U);
  const std::vector<std::string> flags{"both", "write", "read", "none"};
  for (std::size_t i = 0; i < flags.size(); ++i) {
    const json& one = result["results"][i];
    SCOPED_TRACE(one.dump());
    EXPECT_EQ(one["flags"], flags[i]);
    EXPECT_EQ(one["tile_bytes"], 256 * 1024);
    EXPECT_EQ(one["buffers"], 4);
    EXPECT_EQ(one["checksums"], true);
    for (const char* name : measured) expect_spread(one[name], name);
    // Sections end on 4 KiB, so a little more than 12 bytes a parameter either way.
    const auto state = result["state_bytes"].get<double>();
    for (const char* bytes : {"bytes_read", "bytes_written"}) {
      EXPECT_GE(one[bytes]["min"].get<double>(), state) << bytes;
      EXPECT_LE(one[bytes]["max"].get<double>(), 1.2 * state) << bytes;
    }
    for (const char* memory :
         {"region_bytes", "resident_share_bytes", "pinned_bytes", "metadata_bytes"})
      EXPECT_TRUE(one[memory].is_number_integer()) << memory;
  }
  EXPECT_EQ(result["results"][0]["times_first"]["median"], 1.0);
}

TEST(BenchStepTest, BytesFallWithTheRatio) {
  const json result = bench({"--flags", "both", "--ratio", "1,0.5,0", "--compute", "none"});
  ASSERT_EQ(result["results"].size(), 3U);
  const auto read = [&](int i) {
    return result["results"][i]["bytes_read"]["median"].get<double>();
  };
  EXPECT_NEAR(read(1) / read(0), 0.5, 0.06);  // whole tiles of 20
  EXPECT_EQ(read(2), 0);
  EXPECT_EQ(result["results"][2]["bytes_written"]["median"], 0.0);
  for (const json& one : result["results"]) EXPECT_EQ(one["in_memory_seconds"]["max"], 0.0);
}

TEST(BenchStepTest, ListsAreMultiplied) {
  const json result = bench({"--flags", "both,none", "--buffers", "3,5", "--engine", "threads",
                             "--checksums", "on,off", "--compute", "fill", "--repeat", "2"});
  ASSERT_EQ(result["results"].size(), 8U);
  EXPECT_EQ(result["repeat"], 2);
  int with_checksums = 0;
  for (const json& one : result["results"]) {
    EXPECT_EQ(one["engine"], "threads");
    with_checksums += one["checksums"] == true ? 1 : 0;
  }
  EXPECT_EQ(with_checksums, 4);
}

TEST(BenchStepTest, WithoutACeilingThereIsNoBound) {
  const json result = bench({"--ceiling", "none", "--flags", "both"});
  EXPECT_EQ(result["ceiling"], "none");
  const json& one = result["results"][0];
  for (const char* name : {"bound_seconds", "unpipelined_seconds", "times_bound", "ceiling_gbps"})
    EXPECT_TRUE(one[name].is_null()) << name;
  expect_spread(one["step_seconds"], "step_seconds");
}

// Alone: what others move meanwhile counts as moved.
TEST(BenchStepSystemTest, ARateAboveTheDisksCountersIsWithheld) {
  const TempDir folder;
  const std::string file = (folder.path() / "buffered.json").string();
  std::ofstream(file) << json{
      {"offload_optimizer", {{"device", "nvme"}, {"nvme_path", folder.path().string()}}},
      {"io", {{"direct", "off"}}}};
  // So long that others, who use the disk meanwhile, do not move as much as the page cache gives.
  const json result = bench({"--config", file, "--flags", "both", "--seconds", "0.5"});
  const json& one = result["results"][0];
  if (result["machine"]["paths"][0]["device"].is_null()) GTEST_SKIP() << "nothing counts here";
  EXPECT_FALSE(one["direct_io"].get<bool>());
  EXPECT_FALSE(result["paths"][0]["direct_io"].get<bool>());
  EXPECT_TRUE(one["withheld"].is_string()) << one;
  EXPECT_TRUE(one["gbps"].is_null()) << one;
  EXPECT_TRUE(one["times_bound"].is_null()) << one;
  EXPECT_TRUE(one["device"]["read_bytes"].is_number()) << one;
  EXPECT_TRUE(one["ceiling_withheld"].is_string()) << one;
  EXPECT_TRUE(one["ceiling_gbps"].is_null()) << one;
  EXPECT_TRUE(one["bound_seconds"].is_null()) << one;
}

TEST(BenchStepTest, WhatCannotFitIsRefusedBeforeAnythingIsWritten) {
  CliProgram program;
  const CliProgram::End end = program.run({"bench", "step", "--model", "llama-2-70b", "--ratio",
                                           "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "--rounds", "1"});
  EXPECT_EQ(end.status, 1);
  EXPECT_NE(end.last_line().find("are needed for the state of 32 variants"), std::string::npos)
      << end.err;
  EXPECT_TRUE(program.here().names().empty());
}

TEST(BenchStepTest, TheTraceShowsReadsComputeAndWrites) {
  CliProgram program;
  const CliProgram::End end = program.run({"bench", "step", "--model", "tiny", "--tile-size",
                                           "256KiB", "--rounds", "1", "--seconds", "0", "--ceiling",
                                           "none", "--flags", "both", "--trace", "trace.json"});
  ASSERT_EQ(end.status, 0) << end.err;
  EXPECT_EQ(program.here().names().size(), 1U) << "more than the trace was left";
  std::ifstream stream(program.here().path() / "trace.json");
  const json trace = json::parse(stream, nullptr, false);
  ASSERT_TRUE(trace.is_object());
  std::vector<std::string> seen;
  for (const json& event : trace["traceEvents"])
    if (event["ph"] == "X") seen.push_back(event["name"].get<std::string>());
  for (const std::string activity : {"read", "write", "compute", "wait"})
    EXPECT_TRUE(std::ranges::any_of(seen, [&](const std::string& name) {
      return name.starts_with(activity);
    })) << activity;
}

TEST(BenchStepTest, RanksShareTheState) {
  const json one = bench({"--flags", "both"});
  const json two = bench({"--flags", "both", "--ranks", "2"});
  EXPECT_EQ(two["ranks"], 2);
  EXPECT_EQ(two["params"], one["params"]);
  const double whole = one["results"][0]["bytes_read"]["median"];
  EXPECT_NEAR(two["results"][0]["bytes_read"]["median"].get<double>() / whole, 1.0, 0.1);
  EXPECT_EQ(two["results"][0]["region_bytes"].get<std::int64_t>(),
            2 * one["results"][0]["region_bytes"].get<std::int64_t>());
}

// It writes over the state, so a step that found what fio left would be refused for its checksums.
TEST(BenchStepSystemTest, FioRunsOnTheStatesFilesAndTheStateIsMadeAnew) {
  if (bench({"--flags", "both"})["machine"]["fio"].is_null()) GTEST_SKIP() << "no fio";
  for (const char* ranks : {"1", "2"}) {
    const json result = bench({"--ceiling", "fio", "--ratio", "1,0.5,0", "--flags", "both",
                               "--seconds", "0.05", "--ranks", ranks});
    EXPECT_TRUE(result["ceiling"].get<std::string>().starts_with("fio-")) << result["ceiling"];
    ASSERT_EQ(result["results"].size(), 3U);
    for (const int offloaded : {0, 1})
      for (const char* name : measured) expect_spread(result["results"][offloaded][name], name);
    expect_spread(result["results"][0]["control"], "control");
    // Nothing to move: what bounds it is computing.
    const json& resident = result["results"][2];
    EXPECT_TRUE(resident["ceiling_gbps"].is_null()) << resident;
    EXPECT_EQ(resident["io_seconds"]["median"], 0);
    EXPECT_EQ(resident["bound_seconds"]["median"], resident["in_memory_seconds"]["median"]);
  }
}

TEST(BenchStepSystemTest, FioRunsOnTheFilesOfAllPathsWhateverTheirShares) {
  const TempDir folder;
  const std::string a = folder.folder("a").string(), b = folder.folder("b").string(),
                    file = (folder.path() / "c.json").string();
  std::ofstream(file) << json{{"offload_optimizer", {{"device", "nvme"}, {"nvme_path", {a, b}}}},
                              {"io", {{"path_weights", {3, 1}}}}};
  const json result = bench({"--ceiling", "auto", "--config", file, "--flags", "both", "--seconds",
                             "0.05", "--compute", "fill"});
  if (result["machine"]["fio"].is_null()) GTEST_SKIP() << "no fio";
  EXPECT_TRUE(result["ceiling"].get<std::string>().starts_with("fio-")) << result["ceiling"];
  expect_spread(result["results"][0]["ceiling_gbps"], "ceiling_gbps");
  EXPECT_TRUE(TempDir::names_in(a).empty());
  EXPECT_TRUE(TempDir::names_in(b).empty());
}

TEST(BenchStepTest, WithoutFioItSaysHowToGetIt) {
  CliProgram program;
  program.prepare = [] { ::setenv("PATH", "/nonexistent", 1); };
  const CliProgram::End end =
      program.run({"bench", "step", "--model", "tiny", "--rounds", "1", "--seconds", "0"});
  ASSERT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.out.find("apt-get install fio"), std::string::npos) << end.out;
}

TEST(BenchStepTest, AConfigFileSetsWhatTheOptionsLeaveOut) {
  CliProgram program;
  const std::string path = program.here().folder("nvme");
  std::ofstream(program.here().path() / "config.json")
      << R"({"offload_optimizer": {"device": "nvme", "nvme_path": ")" << path
      << R"(", "buffer_count": 5, "buffer_size": "128KiB", "ratio": 0.5},)"
      << R"( "io": {"checksums": false}})";
  const CliProgram::End end =
      program.run({"bench", "step", "--model", "tiny", "--config", "config.json", "--rounds", "1",
                   "--seconds", "0", "--ceiling", "none", "--flags", "both", "--json"});
  ASSERT_EQ(end.status, 0) << end.err;
  const json one = json::parse(end.out)["results"][0];
  EXPECT_EQ(one["buffers"], 5);
  EXPECT_EQ(one["tile_bytes"], 128 * 1024);
  EXPECT_EQ(one["ratio"], 0.5);
  EXPECT_EQ(one["checksums"], false);
  EXPECT_TRUE(TempDir::names_in(path).empty());
}

}  // namespace
}  // namespace spillway
