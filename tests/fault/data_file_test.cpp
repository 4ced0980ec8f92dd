// The data file is changed behind our back, as another process of this user can through /proc,
// although it has no name: every change is seen before its bytes reach the engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "fault/engine_loop.h"
#include "fault/open_files.h"
#include "support/captured_log.h"

namespace spillway {
namespace {

using test::EngineLoop;
using test::error_of;
using testing::HasSubstr;

struct Way {
  bool checksums = true;
  int paths = 1;
};

class DataFileTest : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    Config config = test::small_config(OffloadDevice::nvme, ".");
    config.offload_optimizer.nvme_path.clear();
    for (int i = 0; i < GetParam().paths; ++i) {
      folders.push_back(scratch.path() / std::to_string(i));
      std::filesystem::create_directory(folders.back());
      config.offload_optimizer.nvme_path.push_back(folders.back());
    }
    config.offload_optimizer.buffer_size = 64 * 1024;
    config.io.stripe_unit = 8192;
    config.io.checksums = GetParam().checksums;
    context.emplace(config);
    loop.emplace(*context, std::vector<std::int64_t>{30'000, 7, 4000});
    step(1);
    step(2);
    for (const auto& folder : folders) files.emplace_back(folder);
  }
  void step(std::int64_t n) {
    loop->step(n);
    loop->twin.step(n);
  }
  // The step fails as corrupt and says where; when the bytes are back, it ends bit-equal.
  void expect_corrupt(const std::function<void(std::size_t)>& change, const std::string& what) {
    for (std::size_t path = 0; path < files.size(); ++path) {
      const std::vector<char> good = files[path].contents();
      change(path);
      ::fsync(files[path].fd());
      const std::vector<char> changed = files[path].contents();
      const test::Twin before = loop->twin;
      loop->twin.step(now);
      std::string text;
      EXPECT_EQ(error_of([&] { loop->step(now); }, &text), Errc::corrupt)
          << what << ", path " << path << ": " << text;
      for (const char* word : {"tile", "\"p", "state \"", "offset", "spillway-"})
        EXPECT_THAT(text, HasSubstr(word)) << what;
      // What is read beside the steps is either right or corrupt as well.
      for (std::size_t p = 0; p < loop->ids.size(); ++p) {
        const auto &old = before.params[p].m, &fresh = loop->twin.params[p].m;
        std::vector<float> m(old.size());
        const auto code = error_of(
            [&] { loop->swapper.read_state<float>(loop->ids[p], "m", 0, std::span(m)); }, &text);
        if (code) {
          EXPECT_EQ(code, Errc::corrupt) << text;
          continue;
        }
        for (std::size_t i = 0; i < m.size(); ++i)
          ASSERT_TRUE(m[i] == old[i] || m[i] == fresh[i]) << what << ": p" << p << "[" << i << "]";
      }
      files[path].undo(changed, good);
      loop->step(now++);
      loop->expect_equal(what + ", put back");
    }
  }

  CapturedLog log;
  test::Scratch scratch;
  std::vector<std::filesystem::path> folders;
  std::optional<Context> context;
  std::optional<EngineLoop> loop;
  std::vector<test::OpenDataFile> files;
  std::int64_t now = 3;  // the step that comes next
};

TEST_P(DataFileTest, Truncated) {
  expect_corrupt([&](std::size_t path) { files[path].cut(0); }, "emptied");
  expect_corrupt([&](std::size_t path) { files[path].cut(5000); }, "cut at an odd byte");
}

TEST_P(DataFileTest, TruncatedAndGrownAgain) {
  for (const bool allocated : {false, true})
    for (const std::int64_t at : {0, 5000})
      expect_corrupt([&](std::size_t path) { files[path].cut_and_grow(at, allocated); },
                     allocated ? "allocated again" : "sparse again");
}

// An older state of the whole file, as a snapshot that was restored under us.
TEST_P(DataFileTest, RolledBack) {
  std::vector<std::vector<char>> older;
  for (const auto& file : files) older.push_back(file.contents());
  step(now++);
  step(now++);
  expect_corrupt([&](std::size_t path) { files[path].put(older[path]); }, "an older file");
}

TEST_P(DataFileTest, Overwritten) {
  expect_corrupt(
      [&](std::size_t path) {
        files[path].put(std::vector<char>(static_cast<std::size_t>(files[path].size()), 'x'));
      },
      "overwritten whole");
}

class DataFileChecksumTest : public DataFileTest {};

// With checksums every changed bit is seen.
TEST_P(DataFileChecksumTest, AChangedBit) {
  expect_corrupt(
      [&](std::size_t path) {
        std::vector<char> bytes = files[path].contents();
        for (std::size_t at = 1000; at < bytes.size(); at += 4096) bytes[at] ^= 16;
        files[path].put(bytes);
      },
      "a bit of each page");
}

// The file has no name; whoever removes our directory, or puts another there, changes nothing.
TEST_P(DataFileTest, RemovedAndReplacedByName) {
  for (const auto& folder : folders) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directory(folder);
    std::ofstream(folder / "data") << "not ours";
  }
  step(now++);
  loop->expect_equal("the directory was removed");
  loop.reset();
  context.reset();
  for (const auto& folder : folders)
    EXPECT_TRUE(std::filesystem::exists(folder / "data")) << "not ours, and gone";
}

std::string way_name(const ::testing::TestParamInfo<Way>& way) {
  return std::string(way.param.checksums ? "checksums" : "trailers") +
         (way.param.paths > 1 ? "_striped" : "");
}

INSTANTIATE_TEST_SUITE_P(Seals, DataFileTest,
                         ::testing::Values(Way{true, 1}, Way{true, 3}, Way{false, 1},
                                           Way{false, 3}),
                         way_name);
INSTANTIATE_TEST_SUITE_P(Seals, DataFileChecksumTest, ::testing::Values(Way{true, 1}, Way{true, 3}),
                         way_name);

}  // namespace
}  // namespace spillway
