#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "cli_program.h"
#include "json_of_run.h"

namespace spillway {
namespace {

using nlohmann::json;

// A demo of the tiny model that must succeed and leave nothing; its --json object.
json demo(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"demo", "--model", "tiny", "--json"});
  return json_of_run(arguments);
}

TEST(DemoTest, JsonHoldsWhatIsPromised) {
  const json result = demo({"--steps", "4", "--tile-bytes", "256KiB", "--seed", "11"});
  EXPECT_EQ(result["bit_exact"], true);
  EXPECT_EQ(result["params"], 395734);
  EXPECT_EQ(result["steps"], 4);
  EXPECT_EQ(result["step_seconds"].size(), 4U);
  EXPECT_EQ(result["in_memory_step_seconds"].size(), 4U);
  for (const char* list : {"step_seconds", "in_memory_step_seconds"})
    for (const json& seconds : result[list]) EXPECT_GT(seconds.get<double>(), 0) << list;

  EXPECT_GE(result["bytes_read_per_param"].get<double>(), 12.0);
  EXPECT_GE(result["bytes_written_per_param"].get<double>(), 12.0);
  EXPECT_LE(result["bytes_read_per_param"].get<double>(), 14.0);  // sections end on 4 KiB
  EXPECT_LE(result["bytes_written_per_param"].get<double>(), 14.0);

  EXPECT_EQ(result["pinned_bytes_requested"], 4 * 256 * 1024);
  EXPECT_GE(result["region_bytes"].get<std::int64_t>(), 4 * 256 * 1024);
  EXPECT_LE(result["region_bytes"].get<std::int64_t>(), 4 * 256 * 1024 + (2 << 20));
  EXPECT_LE(result["pinned_bytes"].get<std::int64_t>(), 4 * 256 * 1024 + (2 << 20));
  for (const char* bytes : {"locked_bytes", "registered_bytes", "metadata_bytes"})
    EXPECT_TRUE(result[bytes].is_number_integer()) << bytes;
  EXPECT_GT(result["peak_rss_bytes"].get<std::int64_t>(), 0);
  EXPECT_EQ(result["rss_over_pool_bytes"].get<std::int64_t>(),
            result["peak_rss_bytes"].get<std::int64_t>() -
                result["region_bytes"].get<std::int64_t>() -
                result["resident_share_bytes"].get<std::int64_t>());

  for (const char* seconds : {"stall_read_seconds", "stall_write_seconds", "stall_buffer_seconds",
                              "compute_seconds", "checksum_seconds", "setup_seconds"})
    EXPECT_GE(result[seconds].get<double>(), 0) << seconds;
  EXPECT_GT(result["compute_seconds"].get<double>(), 0);
  EXPECT_GE(result["waiting_share"].get<double>(), 0);
  EXPECT_LE(result["waiting_share"].get<double>(), 1.001);
  EXPECT_GE(result["huge_page_share"].get<double>(), 0);
  EXPECT_LE(result["huge_page_share"].get<double>(), 1);
  EXPECT_TRUE(result["engine"] == "io_uring" || result["engine"] == "threads");
  EXPECT_TRUE(result["direct_io"].is_boolean());
  EXPECT_EQ(result["paths"].size(), 1U);
  EXPECT_EQ(result["config"]["offload_optimizer"]["buffer_size"], 256 * 1024);
}

TEST(DemoTest, BitExactWhereverTheStateLives) {
  for (const std::string device : {"none", "cpu", "nvme"})
    for (const std::string ratio : {"0", "0.37", "1"}) {
      const json result =
          demo({"--device", device, "--ratio", ratio, "--tile-bytes", "128KiB", "--steps", "2"});
      EXPECT_EQ(result["bit_exact"], true) << device << " " << ratio;
      const double read = result["bytes_read_per_param"].get<double>();
      if (device != "nvme" || ratio == "0") {
        EXPECT_EQ(read, 0.0) << device << " " << ratio;
      } else if (ratio == "0.37") {
        EXPECT_NEAR(read, 12 * 0.37, 1.0);
      }
    }
}

TEST(DemoTest, BitExactHoweverItMoves) {
  for (const std::string engine : {"auto", "threads"})
    for (const std::string checksums : {"--checksums", "--no-checksums"})
      for (const std::vector<std::string>& flags :
           std::vector<std::vector<std::string>>{{"--pipeline-read", "--no-pipeline-write"},
                                                 {"--no-pipeline-read", "--pipeline-write"},
                                                 {"--no-pipeline-read", "--no-pipeline-write"}}) {
        std::vector<std::string> arguments{"--engine",  engine, "--tile-bytes",   "192KiB",
                                           "--steps",   "2",    "--fast-init",    checksums,
                                           "--threads", "3",    "--no-pin-memory"};
        arguments.insert(arguments.end(), flags.begin(), flags.end());
        const json result = demo(arguments);
        EXPECT_EQ(result["bit_exact"], true) << json(arguments).dump();
        if (engine == "threads") {
          EXPECT_EQ(result["engine"], "threads");
        }
        EXPECT_EQ(result["locked_bytes"], 0);
      }
}

TEST(DemoTest, WithoutReferenceNothingIsClaimed) {
  const json result = demo({"--no-reference", "--steps", "1"});
  EXPECT_TRUE(result["bit_exact"].is_null());
  EXPECT_TRUE(result["in_memory_step_seconds"].empty());
}

TEST(DemoTest, FewerLayersAreSaid) {
  CliProgram program;
  const CliProgram::End end = program.run({"demo", "--model", "tiny", "--layers", "1"});
  EXPECT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.err.find("first 1 of 2 layers"), std::string::npos) << end.err;
  EXPECT_NE(end.out.find("first 1 of 2 layers"), std::string::npos) << end.out;
  EXPECT_NE(end.out.find("Bit exact"), std::string::npos) << end.out;
}

TEST(DemoTest, SeveralPathsAndAConfigFile) {
  CliProgram program;
  const std::string a = program.here().folder("a"), b = program.here().folder("b");
  std::ofstream(program.here().path() / "ds_config.json")
      << R"({"train_batch_size": 8, "zero_optimization": {"stage": 3, "offload_optimizer": {)"
      << R"("device": "nvme", "nvme_path": ")" << a << R"(", "pipeline_read": true}}})";
  const CliProgram::End end = program.run(
      {"demo", "--model", "tiny", "--config", "ds_config.json", "--nvme-path", a, b, "--json"});
  ASSERT_EQ(end.status, 0) << end.err;
  const json result = json::parse(end.out);
  EXPECT_EQ(result["bit_exact"], true);
  EXPECT_EQ(result["paths"].size(), 2U);
  EXPECT_EQ(result["config"]["offload_optimizer"]["pipeline_read"], true);
  EXPECT_EQ(result["config"]["offload_optimizer"]["pipeline_write"], false);
  EXPECT_TRUE(TempDir::names_in(a).empty());
  EXPECT_TRUE(TempDir::names_in(b).empty());
}

}  // namespace
}  // namespace spillway
