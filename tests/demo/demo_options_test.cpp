#include "demo_options.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_dir.h"

#include "spillway/error.h"

namespace spillway::demo {
namespace {

TEST(DemoOptionsTest, WithoutAnythingItShowsTheWholeJob) {
  const Config config = resolve({});
  EXPECT_EQ(config.offload_optimizer.device, OffloadDevice::nvme);
  EXPECT_TRUE(config.offload_optimizer.nvme_path.empty());  // the demo makes a directory
  EXPECT_TRUE(config.offload_optimizer.pipeline_read && config.offload_optimizer.pipeline_write);
  EXPECT_TRUE(config.offload_optimizer.pin_memory);
  EXPECT_TRUE(config.io.checksums);
}

TEST(DemoOptionsTest, FlagsGoOverTheFile) {
  const TempDir folder;
  const std::filesystem::path file = folder.path() / "config.json";
  std::ofstream(file) << R"({"offload_optimizer": {"device": "nvme", "nvme_path": ")"
                      << folder.text() << R"(", "buffer_count": 7, "ratio": 0.5,
                      "pipeline_read": true}, "io": {"checksums": false, "path_weights": [3]}})";
  Config config = resolve({.config_file = file});
  EXPECT_EQ(config.offload_optimizer.buffer_count, 7);
  EXPECT_EQ(config.offload_optimizer.ratio, 0.5);
  EXPECT_TRUE(config.offload_optimizer.pipeline_read);
  EXPECT_FALSE(config.offload_optimizer.pipeline_write);  // the file's default, not the demo's
  EXPECT_FALSE(config.io.checksums);

  config = resolve({.config_file = file,
                    .nvme_path = {folder.folder("a"), folder.folder("b")},
                    .ratio = 0.25,
                    .buffer_count = "5",
                    .tile_bytes = "96KiB",
                    .pipeline_read = false,
                    .checksums = true});
  EXPECT_EQ(config.offload_optimizer.nvme_path.size(), 2U);
  EXPECT_TRUE(config.io.path_weights.empty());
  EXPECT_EQ(config.offload_optimizer.ratio, 0.25);
  EXPECT_EQ(config.offload_optimizer.buffer_count, 5);
  EXPECT_EQ(config.offload_optimizer.buffer_size, 96 * 1024);
  EXPECT_FALSE(config.offload_optimizer.pipeline_read);
  EXPECT_TRUE(config.io.checksums);
}

TEST(DemoOptionsTest, SizesFollowTheRulesOfConfigFiles) {
  const auto tile = [](const char* text) {
    return *resolve({.tile_bytes = text}).offload_optimizer.buffer_size;
  };
  EXPECT_EQ(tile("1048576"), 1048576);
  EXPECT_EQ(tile("1MiB"), 1048576);
  EXPECT_EQ(tile("1MB"), 1000000);
  EXPECT_EQ(tile("1e6"), 1000000);
  for (const char* wrong : {"", "x", "1.5", "-4096", "1e30", "4\"", "4\\", "\n", "{}"}) {
    try {
      resolve({.tile_bytes = wrong});
      ADD_FAILURE() << "taken: " << wrong;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == Errc::invalid_config || error.code() == Errc::invalid_argument);
      EXPECT_NE(std::string(error.what()).find("--tile-bytes"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace spillway::demo
