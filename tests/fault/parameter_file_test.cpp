// The data file of parameters is changed behind our back: each parameter is right, or corrupt.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "fault/open_files.h"
#include "support/captured_log.h"
#include "support/page_memory.h"
#include "swap/contents.h"
#include "swap/parameter_fixture.h"

namespace spillway {
namespace {

using test::error_of;
using testing::HasSubstr;

struct Way {
  bool checksums = true;
  int paths = 1;
};

// A block of 4096 values takes 16 KiB, and so lies on two or three of the paths.
class ParameterFileTest : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    Config config = test::parameter_config(OffloadDevice::nvme, ".", 4, 64 * 1024);
    config.offload_param.nvme_path.clear();
    for (int i = 0; i < GetParam().paths; ++i) {
      folders.push_back(scratch.path() / std::to_string(i));
      std::filesystem::create_directory(folders.back());
      config.offload_param.nvme_path.push_back(folders.back());
    }
    config.io.stripe_unit = 8192;
    config.io.checksums = GetParam().checksums;
    context.emplace(config);
    swapper.emplace(*context);
    for (std::size_t p = 0; p < sizes.size(); ++p)
      ids.push_back(swapper->add("p" + std::to_string(p), sizes[p], DType::f32));
    filler = swapper->add("filler", 65'536, DType::f32);
    put_all(1);
    for (const auto& folder : folders) files.emplace_back(folder);
  }
  void put_all(std::int64_t version) {
    for (std::size_t p = 0; p < ids.size(); ++p) test::put(*swapper, ids[p], p, version);
    swapper->flush();
    now = version;
  }
  // Nothing of the parameters stays in memory: one that was never written, as large as the pool.
  void evict() { static_cast<void>(swapper->fetch(filler)); }
  // Whichever way a parameter is read, its numbers are right or it is corrupt and says where.
  int count_corrupt(const std::string& what) {
    int corrupt = 0;
    for (std::size_t p = 0; p < ids.size(); ++p) {
      const std::vector<float> right = test::values(p, 0, sizes[p], now);
      PageMemory memory(sizes[p] * 4);
      const std::span<float> to(reinterpret_cast<float*>(memory.data()), right.size());
      std::string text;
      evict();
      const auto leased = error_of(
          [&] {
            EXPECT_EQ(test::copy_of(swapper->fetch(ids[p])), right)
                << what << ": wrong numbers of p" << p;
          },
          &text);
      const auto straight = error_of([&] { swapper->read_into(ids[p], to).wait(); }, &text);
      // It may have been read ahead together with a neighbour that is hurt.
      EXPECT_TRUE(!leased || leased == Errc::corrupt) << what << ": p" << p;
      if (straight) {
        EXPECT_TRUE(leased) << what << ": p" << p;
      }
      if (!straight) {
        EXPECT_TRUE(std::equal(to.begin(), to.end(), right.begin()))
            << what << ": wrong numbers of p" << p;
        continue;
      }
      ++corrupt;
      EXPECT_EQ(straight, Errc::corrupt) << text;
      for (const std::string& word :
           {"\"p" + std::to_string(p) + "\"", std::string("offset"), std::string("spillway-")})
        EXPECT_THAT(text, HasSubstr(word)) << what;
    }
    return corrupt;
  }
  void expect_corrupt(const std::function<void(std::size_t)>& change, const std::string& what) {
    for (std::size_t path = 0; path < files.size(); ++path) {
      const std::vector<char> good = files[path].contents();
      change(path);
      ::fsync(files[path].fd());
      EXPECT_GT(count_corrupt(what), 0) << what << ", path " << path;
      files[path].put(good);
      EXPECT_EQ(count_corrupt(what + ", put back"), 0);
      // What is written again is whole again, over damage too.
      change(path);
      put_all(now + 1);
      EXPECT_EQ(count_corrupt(what + ", written again"), 0);
    }
  }

  CapturedLog log;
  test::Scratch scratch;
  std::vector<std::filesystem::path> folders;
  std::optional<Context> context;
  std::optional<ParameterSwapper> swapper;
  const std::vector<std::int64_t> sizes{5000, 12'295, 64, 30'000, 1, 4096};
  std::vector<ParamId> ids;
  ParamId filler{};
  std::vector<test::OpenDataFile> files;
  std::int64_t now = 0;
};

TEST_P(ParameterFileTest, Truncated) {
  expect_corrupt([&](std::size_t path) { files[path].cut(0); }, "emptied");
  expect_corrupt([&](std::size_t path) { files[path].cut(9000); }, "cut at an odd byte");
}

TEST_P(ParameterFileTest, TruncatedAndGrownAgain) {
  for (const bool allocated : {false, true})
    for (const std::int64_t at : {0, 4096, 9000, 20'480})
      expect_corrupt([&](std::size_t path) { files[path].cut_and_grow(at, allocated); },
                     "cut at " + std::to_string(at));
}

TEST_P(ParameterFileTest, Overwritten) {
  expect_corrupt(
      [&](std::size_t path) {
        files[path].put(std::vector<char>(static_cast<std::size_t>(files[path].size()), 'x'));
      },
      "overwritten whole");
}

TEST_P(ParameterFileTest, AnOlderFile) {
  std::vector<std::vector<char>> older;
  for (const auto& file : files) older.push_back(file.contents());
  put_all(now + 1);
  expect_corrupt([&](std::size_t path) { files[path].put(older[path]); }, "an older file");
}

class ParameterChecksumTest : public ParameterFileTest {};

// With checksums every changed bit is seen. What lies behind the last value is nobody's.
TEST_P(ParameterChecksumTest, AChangedBit) {
  expect_corrupt(
      [&](std::size_t path) {
        std::vector<char> bytes = files[path].contents();
        for (std::size_t at = 2; at < bytes.size(); at += 512) bytes[at] ^= 16;
        files[path].put(bytes);
      },
      "a bit of each sector");
}

std::string way_name(const ::testing::TestParamInfo<Way>& way) {
  return std::string(way.param.checksums ? "checksums" : "guards") +
         (way.param.paths > 1 ? "_striped" : "");
}

INSTANTIATE_TEST_SUITE_P(Seals, ParameterFileTest,
                         ::testing::Values(Way{true, 1}, Way{true, 3}, Way{false, 1},
                                           Way{false, 3}),
                         way_name);
INSTANTIATE_TEST_SUITE_P(Seals, ParameterChecksumTest,
                         ::testing::Values(Way{true, 1}, Way{true, 3}), way_name);

}  // namespace
}  // namespace spillway
