// The driver of fio: what it asks for, and how it reads what comes back.
#include "bench/fio.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "spillway/error.h"

namespace spillway::tool {
namespace {

bool has(const std::vector<std::string>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

FioRun run_of(LoadPattern pattern) {
  return {.pattern = pattern, .files = {{"/a/1", "/b/2"}}, .file_bytes = 3 << 20};
}

TEST(FioArgumentsTest, SameFilesBlocksAndDepth) {
  FioRun run = run_of(LoadPattern::mixed);
  run.block_bytes = 1 << 20;
  run.depth = 5;
  const std::vector<std::string> words = fio_arguments(run);
  for (const char* word : {"--rw=rw", "--bs=1048576", "--iodepth=5", "--filesize=3145728",
                           "--size=6291456", "--filename=/a/1:/b/2", "--direct=1"})
    EXPECT_TRUE(has(words, word)) << word;
}

// It must not make a file that is gone, lay it out anew, or change what it writes for each block.
TEST(FioArgumentsTest, OnlyFilesThatAreThere) {
  const std::vector<std::string> words = fio_arguments(run_of(LoadPattern::write));
  for (const char* word :
       {"--allow_file_create=0", "--overwrite=1", "--fallocate=none", "--scramble_buffers=0"})
    EXPECT_TRUE(has(words, word)) << word;
}

TEST(FioArgumentsTest, ABoundInBytesIsWholeBlocksAndEndsIt) {
  FioRun run = run_of(LoadPattern::write);
  EXPECT_TRUE(has(fio_arguments(run), "--time_based"));
  run.max_bytes = 5 * run.block_bytes + 4096;
  const std::vector<std::string> words = fio_arguments(run);
  EXPECT_TRUE(has(words, "--io_size=5242880"));
  EXPECT_FALSE(has(words, "--time_based")) << "fio forgets the bound with it";
}

TEST(FioArgumentsTest, PagesAndRanks) {
  FioRun run = run_of(LoadPattern::read);
  run.files = {{"/a"}, {"/b"}};
  run.huge_pages = false;
  EXPECT_TRUE(has(fio_arguments(run), "--iomem=mmap"));
  run.huge_pages = true;
  const std::vector<std::string> words = fio_arguments(run);
  EXPECT_TRUE(has(words, "--iomem=mmaphuge"));
  EXPECT_TRUE(has(words, "--name=rank0"));
  EXPECT_TRUE(has(words, "--name=rank1"));
}

TEST(FioArgumentsTest, AColonInAName) {
  FioRun run = run_of(LoadPattern::read);
  run.files = {{"/a:b/c"}};
  EXPECT_TRUE(has(fio_arguments(run), "--filename=/a\\:b/c"));
}

const std::string good = R"(note: a warning {with braces}
fio: this and that
{
  "fio version" : "fio-3.33",
  "jobs" : [ { "jobname" : "rank0", "error" : 0,
    "read" : { "io_bytes" : 4000000000, "runtime" : 2000, "total_ios" : 4000,
      "lat_ns" : { "max" : 9000000, "percentile" : { "50.000000" : 1000000,
        "90.000000" : 2000000, "99.000000" : 3000000, "99.900000" : 4000000 } } },
    "write" : { "io_bytes" : 1000000, "runtime" : 1999, "total_ios" : 0,
      "lat_ns" : { "max" : 0 } }
  } ]
}
a word after it
)";

TEST(FioParseTest, BytesTimeAndLatency) {
  const FioResult result = parse_fio(good, 0);
  EXPECT_EQ(result.read_bytes, 4000000000);
  EXPECT_EQ(result.written_bytes, 1000000);
  EXPECT_DOUBLE_EQ(result.seconds, 2.0);
  EXPECT_DOUBLE_EQ(result.rate(), 4001000000 / 2.0);
  EXPECT_EQ(result.read_latency.count, 4000);
  EXPECT_DOUBLE_EQ(result.read_latency.p50, 1000);
  EXPECT_DOUBLE_EQ(result.read_latency.p999, 4000);
  EXPECT_DOUBLE_EQ(result.read_latency.max, 9000);
  EXPECT_EQ(result.write_latency.count, 0);
}

std::string message_of(const std::string& output, int status) {
  try {
    parse_fio(output, status);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::io_error);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown for " << output;
  return {};
}

std::string with(const std::string& from, const std::string& to) {
  std::string text = good;
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(FioParseTest, WhatFioSaysStandsInTheError) {
  EXPECT_NE(message_of("fio: pid=1, err=12/file:memory.c, func=iomem, error=Cannot allocate\n", 256)
                .find("Cannot allocate"),
            std::string::npos);
}

TEST(FioParseTest, WhatIsNoResultIsAnError) {
  message_of("", 0);
  message_of("{\n}\n", 0);
  message_of("{\n \"jobs\": []\n}\n", 0);
  message_of("}\n{\n", 0);
  message_of(good.substr(0, good.size() / 2), 0);
  message_of(good, 256);
  message_of(good, 9);
  message_of(with("\"error\" : 0", "\"error\" : 5"), 0);
  message_of(with("\"io_bytes\" : 4000000000", "\"io_bytes\" : \"many\""), 0);
  message_of(with("\"runtime\" : 2000", "\"none\" : 0"), 0);
}

TEST(FioParseTest, NothingMovedIsNoRate) {
  std::string text = with("\"io_bytes\" : 4000000000", "\"io_bytes\" : 0");
  const std::string written = "\"write\" : { \"io_bytes\" : 1000000";
  text.replace(text.find(written), written.size(), "\"write\" : { \"io_bytes\" : 0");
  message_of(text, 0);
}

TEST(FioTest, AbsentItSaysHowToInstallIt) {
  if (!Fio::version().empty()) {
    EXPECT_TRUE(Fio::version().starts_with("fio-")) << Fio::version();
    return;
  }
  try {
    Fio fio;
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::not_found);
    EXPECT_NE(std::string(error.what()).find("apt-get install fio"), std::string::npos);
  }
}

}  // namespace
}  // namespace spillway::tool
