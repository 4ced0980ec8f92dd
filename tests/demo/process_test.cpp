// What the tool knows of processes: its own figures, its children, its scratch directory.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "piped_process.h"
#include "process_figures.h"
#include "progress.h"
#include "scratch_directory.h"
#include "support/temp_dir.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

TEST(ProcessFiguresTest, FiguresAreThere) {
  EXPECT_GT(peak_rss_bytes(), 1 << 20);
  EXPECT_GT(available_memory_bytes(), 1 << 20);
  EXPECT_LE(available_memory_bytes(), proc_bytes("/proc/meminfo", "MemTotal"));
  EXPECT_GE(usable_processors(), 1);
  EXPECT_EQ(proc_bytes("/proc/self/status", "VmH"), -1);  // the whole name
  EXPECT_EQ(proc_bytes("/nonexistent", "x"), -1);
}

TEST(PipedProcessTest, LinesComeOneByOneAndTheLastNeedsNoEnd) {
  PipedProcess child({"sh", "-c", "echo one; echo; printf three"});
  EXPECT_EQ(child.read_line(), "one");
  EXPECT_EQ(child.read_line(), "");
  EXPECT_EQ(child.read_line(), "three");
  EXPECT_EQ(child.read_line(), std::nullopt);
  EXPECT_EQ(child.wait(), 0);
}

TEST(PipedProcessTest, TheEnvironmentIsOursWithTheAdditions) {
  ::setenv("SPILLWAY_TEST_A", "ours", 1);
  ::setenv("SPILLWAY_TEST_B", "ours", 1);
  PipedProcess child({"sh", "-c", "echo $SPILLWAY_TEST_A $SPILLWAY_TEST_B"},
                     {.environment = {"SPILLWAY_TEST_B=added"}});
  EXPECT_EQ(child.read_line(), "ours added");
}

TEST(PipedProcessTest, ItsEndIsSeenAndDestructionKillsIt) {
  PipedProcess fails({"sh", "-c", "exit 3"});
  const int status = fails.wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
  PipedProcess sleeps({"sleep", "1000"});  // hangs here if it is not killed
}

TEST(PipedProcessTest, ItsInputAndItsErrors) {
  PipedProcess child({"sh", "-c", "while read line; do echo \"$line!\" >&2; done; echo end"},
                     {.input = true, .errors = true});
  child.write_line("one");
  EXPECT_EQ(child.read_line(), "one!");
  child.write_line("two");
  EXPECT_EQ(child.read_line(), "two!");
  child.close_input();
  EXPECT_EQ(child.read_line(), "end");
  EXPECT_EQ(child.read_line(), std::nullopt);
}

TEST(PipedProcessTest, OneThatMayTidyUpIsAskedFirst) {
  const TempDir folder;
  const std::string file = (folder.path() / "tidy").string();
  {
    PipedProcess child({"sh", "-c", "trap 'touch " + file + "; exit 0' TERM; echo on; cat"},
                       {.input = true, .patience = 60});
    EXPECT_EQ(child.read_line(), "on");
  }
  EXPECT_EQ(folder.names().size(), 1U);
}

TEST(PipedProcessTest, TicksComeWhileNothingElseDoes) {
  PipedProcess child({"sleep", "1000"});
  struct Enough {};
  int ticks = 0;
  EXPECT_THROW(child.read_line([&] {
    if (++ticks == 2) throw Enough();
  }),
               Enough);
}

TEST(PipedProcessTest, ItsProcessorTimeIsKnownAtTheEnd) {
  PipedProcess child({"sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done"});
  EXPECT_EQ(child.wait(), 0);
  EXPECT_GT(child.cpu_seconds(), 0);
}

TEST(ProgressTest, TimeLeftIsToldOnceItIsKnown) {
  EXPECT_EQ(time_left(0.5, 10, 100), "") << "too early";
  EXPECT_EQ(time_left(10, 0, 100), "");
  EXPECT_EQ(time_left(10, 50, 100), "10 s");
  EXPECT_EQ(time_left(10, 1, 100), "16 min 30 s");
  EXPECT_EQ(time_left(10, 120, 100), "0 s");
}

TEST(PipedProcessTest, WhatIsNotThereIsNotFound) {
  try {
    PipedProcess({"spillway-no-such-program"});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::not_found) << error.what();
  }
}

TEST(ScratchDirectoryTest, ItGoesWithAllThatIsInIt) {
  const TempDir folder;
  std::filesystem::path path;
  {
    const ScratchDirectory scratch(folder.path());
    path = scratch.path();
    EXPECT_TRUE(path.is_absolute());
    std::filesystem::create_directories(path / "a" / "b");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(folder.names().empty());
}

TEST(ScratchDirectoryTest, NoPlaceIsAnErrorWithAWayOut) {
  const TempDir folder;
  try {
    const ScratchDirectory scratch(folder.path() / "absent");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::not_found);
    EXPECT_NE(std::string(error.what()).find("--nvme-path"), std::string::npos);
  }
}

}  // namespace
}  // namespace spillway::tool
