// What `bench io` makes of its command line, and how it shares out what may be written.
#include "bench/io_options.h"

#include <gtest/gtest.h>

#include "spillway/error.h"

namespace spillway::io_bench {
namespace {

constexpr std::int64_t MiB = 1 << 20;

std::string refused(const Options& options) {
  try {
    make_plan(options, false, true);
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == Errc::invalid_argument || error.code() == Errc::invalid_config)
        << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(IoPlanTest, EveryCombinationIsAGroup) {
  Options options;
  options.patterns = {"read", "mixed"};
  options.block_sizes = {"256KiB", "1MiB", "2097152"};
  options.queue_depths = {1, 8};
  const Plan plan = make_plan(options, false, true);
  EXPECT_EQ(plan.groups.size(), 12U);
  EXPECT_EQ(plan.groups[0].pattern, LoadPattern::read);
  EXPECT_EQ(plan.groups[11].block_size, 2 * MiB);
  EXPECT_EQ(plan.groups[11].queue_depth, 8);
  EXPECT_EQ(plan.runs_per_round(), 4);
}

TEST(IoPlanTest, FilesAreSharedOverRanksAndPaths) {
  Options options;
  options.size = "13MiB";
  options.ranks = 2;
  options.nvme_path = {"a", "b"};
  const Plan plan = make_plan(options, false, false);
  EXPECT_EQ(plan.file_bytes_per_rank, 6 * MiB);
  EXPECT_EQ(plan.file_bytes(), 12 * MiB);
  EXPECT_FALSE(plan.fio);
}

TEST(IoPlanTest, DataIsRandomButOnMemory) {
  EXPECT_EQ(make_plan({}, false, true).fill, LoadFill::random);
  EXPECT_EQ(make_plan({}, true, true).fill, LoadFill::words);
  Options options;
  options.data = "random";
  EXPECT_EQ(make_plan(options, true, true).fill, LoadFill::random);
}

TEST(IoPlanTest, FioWhereItIsAndIsWanted) {
  Options options;
  EXPECT_TRUE(make_plan(options, false, true).fio);
  EXPECT_FALSE(make_plan(options, false, false).fio);
  options.ceiling = "none";
  EXPECT_FALSE(make_plan(options, false, true).fio);
  options.ceiling = "fio";
  try {
    make_plan(options, false, false);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::not_found) << "the caller can mend it";
    EXPECT_NE(std::string(error.what()).find("apt-get install fio"), std::string::npos);
  }
}

TEST(IoPlanTest, WhatCannotBeIsRefused) {
  Options options;
  options.block_sizes = {"4097"};
  EXPECT_NE(refused(options).find("4096"), std::string::npos);
  options.block_sizes = {"0"};
  refused(options);
  options.block_sizes = {"4GiB"};
  EXPECT_NE(refused(options).find("--size"), std::string::npos);
  options = {};
  options.size = "1.5";
  refused(options);
  options.size = "auto";
  refused(options);
  options.size = "512KiB";
  EXPECT_NE(refused(options).find("1 MiB"), std::string::npos);
  options = {};
  options.ranks = 4;
  options.size = "3MiB";
  refused(options);
  options = {};
  options.max_written = "1GiB";
  EXPECT_NE(refused(options).find("--max-written"), std::string::npos) << "filling takes 2 GiB";
  options = {};
  options.nvme_path = {"\xff"};
  EXPECT_NE(refused(options).find("UTF-8"), std::string::npos);
}

// Filling alone is enough where nothing else writes.
TEST(IoPlanTest, ReadsNeedNoBudgetBeyondTheFiles) {
  Options options;
  options.patterns = {"read"};
  options.size = options.max_written = "16MiB";
  EXPECT_EQ(make_plan(options, false, true).max_written, 16 * MiB);
  options.patterns = {"read", "mixed"};
  refused(options);
}

TEST(BudgetTest, SharesAreWholeBlocksAndNeverMoreThanThereIs) {
  EXPECT_EQ(share_of_budget(100 * MiB, 10, 1, MiB), 10 * MiB);
  EXPECT_EQ(share_of_budget(100 * MiB, 10, 3, MiB), 3 * MiB);
  EXPECT_EQ(share_of_budget(100 * MiB - 1, 10, 1, MiB), 9 * MiB);
  EXPECT_EQ(share_of_budget(MiB, 2, 1, MiB), 0);
  EXPECT_EQ(share_of_budget(-1, 2, 1, MiB), 0);
  EXPECT_EQ(share_of_budget(MiB, 0, 1, MiB), 0);
  for (std::int64_t runs = 1; runs < 50; ++runs)
    for (int ranks = 1; ranks < 9; ++ranks)
      EXPECT_LE(share_of_budget(777 * MiB + 77, runs, ranks, 4096) * runs * ranks, 777 * MiB + 77);
}

}  // namespace
}  // namespace spillway::io_bench
