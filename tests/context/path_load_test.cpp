#include "spillway/path_load.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <vector>

#include "base/align.h"
#include "support/temp_dir.h"

#include "spillway/error.h"
#include "spillway/timeline.h"

namespace spillway {
namespace {

constexpr double long_enough = 1e6;  // [s] another bound ends the run

PathLoadOptions options_for(const TempDir& folder, std::int64_t bytes = 4 * MiB) {
  return {.paths = {folder.path()}, .file_bytes = bytes};
}

LoadShape shape_of(LoadPattern pattern, EngineChoice engine = EngineChoice::automatic) {
  return {.pattern = pattern,
          .engine = engine,
          .block_size = 64 * KiB,
          .queue_depth = 4,
          .seconds = long_enough,
          .max_read = 6 * MiB,
          .max_written = 6 * MiB};
}

Errc code_of(const std::function<void()>& what) {
  try {
    what();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return Errc::io_error;
}

class PathLoadTest : public testing::TestWithParam<EngineChoice> {};

// More than the file holds, so that it is gone over twice.
TEST_P(PathLoadTest, MovesExactlyWhatItsBoundsAllow) {
  const TempDir folder;
  PathLoad load(options_for(folder));
  load.fill();
  const LoadResult read = load.run(shape_of(LoadPattern::read, GetParam()));
  EXPECT_EQ(read.bytes_read, 6 * MiB);
  EXPECT_EQ(read.bytes_written, 0);
  EXPECT_EQ(read.read_latency.count, 6 * MiB / (64 * KiB));
  EXPECT_GT(read.read_latency.p50, 0);
  EXPECT_LE(read.read_latency.p50, read.read_latency.p999);
  EXPECT_EQ(read.write_latency.count, 0);
  EXPECT_EQ(read.pages_checked, 0);
  EXPECT_GT(read.seconds(), 0);
  EXPECT_GT(read.cpu_seconds, 0);
  EXPECT_FALSE(read.engine.empty());

  const LoadResult write = load.run(shape_of(LoadPattern::write, GetParam()));
  EXPECT_EQ(write.bytes_read, 0);
  EXPECT_EQ(write.bytes_written, 6 * MiB);
  EXPECT_EQ(write.pages_checked, 8 * 16);

  const LoadResult mixed = load.run(shape_of(LoadPattern::mixed, GetParam()));
  EXPECT_EQ(mixed.bytes_read, 6 * MiB);
  EXPECT_EQ(mixed.bytes_written, 6 * MiB);
}

INSTANTIATE_TEST_SUITE_P(Engines, PathLoadTest,
                         testing::Values(EngineChoice::automatic, EngineChoice::threads));

TEST(PathLoadBoundsTest, TimeIsOneToo) {
  const TempDir folder;
  PathLoad load(options_for(folder));
  LoadShape shape = shape_of(LoadPattern::write);
  shape.seconds = 0.02;
  shape.max_written = INT64_MAX;
  const LoadResult result = load.run(shape);
  EXPECT_GT(result.bytes_written, 0);
  EXPECT_EQ(result.bytes_written % shape.block_size, 0);
  EXPECT_GE(result.seconds(), 0.02 * 0.5);
}

TEST(PathLoadBoundsTest, ABoundThatIsNoWholeBlockIsNotExceeded) {
  const TempDir folder;
  PathLoad load(options_for(folder));
  LoadShape shape = shape_of(LoadPattern::write);
  shape.max_written = 5 * shape.block_size + 1;
  EXPECT_EQ(load.run(shape).bytes_written, 5 * shape.block_size);
}

TEST(PathLoadPathsTest, BlocksGoOverAllPaths) {
  const TempDir one, two;
  PathLoad load({.paths = {one.path(), two.path()}, .file_bytes = 5 * MiB});
  EXPECT_EQ(load.bytes_per_file(), 2 * MiB);
  load.fill();
  const LoadResult result = load.run(shape_of(LoadPattern::mixed));
  EXPECT_EQ(result.bytes_read, 6 * MiB);
  const std::vector<PathStats> paths = load.paths();
  ASSERT_EQ(paths.size(), 2U);
  for (const PathStats& path : paths) EXPECT_EQ(path.allocated_bytes, 2 * MiB);
}

// fio works on them.
TEST(PathLoadPathsTest, OthersCanOpenTheFilesWhichHaveNoName) {
  const TempDir folder;
  PathLoad load(options_for(folder));
  load.fill();
  const std::vector<std::string> names = load.file_names();
  ASSERT_EQ(names.size(), 1U);
  const int fd = ::open(names[0].c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0) << names[0];
  EXPECT_EQ(::lseek(fd, 0, SEEK_END), 4 * MiB);
  EXPECT_EQ(load.paths()[0].data_file, names[0]);
  ::close(fd);
}

TEST(PathLoadPathsTest, NothingIsLeft) {
  const TempDir folder;
  {
    PathLoad load(options_for(folder));
    load.fill();
    EXPECT_EQ(folder.names().size(), 1U);
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(PathLoadWatchTest, WhatItThrowsEndsTheRunAndTheNextOneWorks) {
  struct Enough {};
  const TempDir folder;
  PathLoad load(options_for(folder));
  LoadShape endless = shape_of(LoadPattern::write);
  endless.max_written = INT64_MAX;
  EXPECT_THROW(load.run(endless, {.on_progress = [](std::int64_t) { throw Enough(); }}), Enough);
  EXPECT_THROW(load.run(endless, {.on_prepared = [] { throw Enough(); }}), Enough);
  EXPECT_EQ(load.run(shape_of(LoadPattern::write)).bytes_written, 6 * MiB);
}

TEST(PathLoadWatchTest, TheTimelineHasEveryTransfer) {
  const TempDir folder;
  PathLoad load(options_for(folder));
  load.fill();
  const auto timeline = std::make_shared<Timeline>(1000);
  const LoadResult result = load.run(shape_of(LoadPattern::mixed), {.timeline = timeline});
  std::map<Activity, std::int64_t> bytes;
  for (const Span& span : timeline->take()) {
    bytes[span.activity] += span.bytes;
    EXPECT_GE(span.begin_ns, result.begin_ns);
    EXPECT_GT(span.end_ns, span.begin_ns);
    EXPECT_LE(span.end_ns, result.end_ns);
    EXPECT_EQ(span.offset % (64 * KiB), 0);
  }
  EXPECT_EQ(bytes[Activity::read], result.bytes_read);
  EXPECT_EQ(bytes[Activity::write], result.bytes_written);
}

TEST(PathLoadErrorTest, SaysWhatIsWrong) {
  const TempDir folder;
  PathLoad load(options_for(folder));
  const auto refused = [&](auto change) {
    LoadShape shape = shape_of(LoadPattern::write);
    change(shape);
    return code_of([&] { load.run(shape); });
  };
  EXPECT_EQ(code_of([&] { load.run(shape_of(LoadPattern::read)); }), Errc::invalid_argument)
      << "what was never written is no measure of reading";
  EXPECT_EQ(refused([](LoadShape& s) { s.block_size = 0; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](LoadShape& s) { s.block_size = 4097; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](LoadShape& s) { s.block_size = 8 * MiB; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](LoadShape& s) { s.queue_depth = 0; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](LoadShape& s) { s.queue_depth = 20000; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](LoadShape& s) { s.seconds = 0; }), Errc::invalid_argument);
  EXPECT_EQ(refused([](LoadShape& s) { s.max_written = 4096; }), Errc::invalid_argument);
}

TEST(PathLoadErrorTest, OptionsThatCannotBe) {
  const TempDir folder;
  const auto refused = [](PathLoadOptions options) {
    return code_of([&] { const PathLoad load(options); });
  };
  EXPECT_EQ(refused({}), Errc::invalid_argument);
  EXPECT_EQ(refused(options_for(folder, 4096)), Errc::invalid_argument);
  EXPECT_EQ(refused(options_for(folder, INT64_MAX / 2)), Errc::no_space);
  EXPECT_EQ(refused({.paths = {folder.path() / "absent"}, .file_bytes = MiB}), Errc::not_found);
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace spillway
