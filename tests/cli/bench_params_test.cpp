// spillway bench params, run as a user runs it. What it says of hit rates is counted in bytes, so
// it is asserted; what it says of seconds is only there.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cli_program.h"
#include "json_of_run.h"

namespace spillway {
namespace {

using nlohmann::json;

json bench(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"bench", "params", "--model", "tiny", "--json"});
  return json_of_run(arguments);
}

TEST(BenchParamsTest, JsonHoldsWhatIsPromised) {
  for (const std::string trace : {"forward-backward", "cyclic", "moe"}) {
    const json result = bench({"--trace", trace, "--passes", "3"});
    EXPECT_TRUE(result["machine"].is_object());
    EXPECT_TRUE(result["machine"]["kernel"].is_string());
    ASSERT_EQ(result["results"].size(), 4U * 3U);
    for (const json& one : result["results"]) {
      SCOPED_TRACE(one.dump());
      EXPECT_GT(one["pass_seconds"].get<double>(), 0);
      EXPECT_GE(one["stall_seconds"].get<double>(), 0);
      for (const char* rate : {"hit_rate", "lru_hit_rate", "belady_hit_rate"})
        EXPECT_LE(one[rate].get<double>(), 1) << rate;
      for (const char* bytes :
           {"peak_cached_bytes", "peak_pool_bytes", "bytes_read", "bytes_written", "bytes_fetched"})
        EXPECT_TRUE(one[bytes].is_number_integer()) << bytes;
      EXPECT_LE(one["peak_cached_elements"], one["cap_elements"]);
      EXPECT_LE(one["peak_pool_bytes"].get<std::int64_t>(),
                result["config"]["offload_param"]["buffer_count"].get<std::int64_t>() *
                    result["config"]["offload_param"]["buffer_size"].get<std::int64_t>());
    }
  }
}

TEST(BenchParamsTest, SeveralPathsAndAFileForTheResult) {
  CliProgram program;
  std::filesystem::create_directory(program.here().path() / "a");
  std::filesystem::create_directory(program.here().path() / "b");
  const CliProgram::End end =
      program.run({"bench", "params", "--model", "tiny", "--passes", "2", "--cap", "0",
                   "--nvme-path", "a", "b", "--json", "result.json"});
  ASSERT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.out.find("Belady"), std::string::npos) << "the table as well";
  std::ifstream file(program.here().path() / "result.json");
  const json result = json::parse(file);
  EXPECT_EQ(result["machine"]["paths"].size(), 2U);
  EXPECT_EQ(result["results"].size(), 2U);
}

TEST(BenchParamsTest, WithAllOfTheModelInTheCacheNothingIsReadTwice) {
  const json result = bench({"--cap", "100%", "--passes", "3"});
  ASSERT_EQ(result["results"].size(), 3U);
  for (int pass : {1, 2}) {
    EXPECT_EQ(result["results"][pass]["hit_rate"], 1.0);
    EXPECT_EQ(result["results"][pass]["bytes_read"], 0);
    EXPECT_EQ(result["results"][pass]["belady_hit_rate"], 1.0);
  }
}

TEST(BenchParamsTest, CapsAreElementsOrShares) {
  const json result = bench({"--cap", "1000,2e3,0%,50%,400%", "--passes", "1"});
  ASSERT_EQ(result["results"].size(), 5U);
  const std::int64_t all = result["params"];
  const std::vector<std::int64_t> expected{1000, 2000, 0, (all + 1) / 2, all};
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(result["results"][i]["cap_elements"], expected[i]);
}

TEST(BenchParamsTest, AConfigFileSetsPoolAndCap) {
  CliProgram program;
  const std::string path = program.here().folder("nvme");
  const std::string file = (program.here().path() / "config.json").string();
  std::ofstream(file) << R"({"offload_param": {"device": "nvme", "nvme_path": ")" << path
                      << R"(", "buffer_count": 3, "buffer_size": "1MiB", "max_in_cpu": 5000}})";
  const CliProgram::End end =
      program.run({"bench", "params", "--model", "tiny", "--config", file, "--json"});
  ASSERT_EQ(end.status, 0) << end.err;
  const json result = json::parse(end.out);
  EXPECT_EQ(result["results"].size(), 5U);
  EXPECT_EQ(result["results"][0]["cap_elements"], 5000);
  EXPECT_EQ(result["config"]["offload_param"]["buffer_count"], 3);
  EXPECT_TRUE(TempDir::names_in(path).empty()) << "something was left behind";
}

TEST(BenchParamsTest, ThinkingIsDone) {
  const json result =
      bench({"--cap", "0", "--passes", "2", "--think-ms", "2", "--trace", "cyclic"});
  for (const json& one : result["results"])
    EXPECT_GE(one["pass_seconds"].get<double>(), one["think_seconds"].get<double>());
  EXPECT_GT(result["results"][0]["think_seconds"].get<double>(), 0.002);
}

TEST(BenchParamsTest, TheTableIsForPeople) {
  CliProgram program;
  const CliProgram::End end = program.run({"bench", "params", "--model", "tiny", "--layers", "1"});
  EXPECT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.out.find("Belady"), std::string::npos) << end.out;
  EXPECT_NE(end.err.find("first 1 of 2 layers"), std::string::npos) << end.err;
}

}  // namespace
}  // namespace spillway
