// A demo that is stopped half-way leaves nothing and says by its exit status who stopped it.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "cli_program.h"

namespace spillway {
namespace {

using namespace std::chrono_literals;

void stop_after(std::chrono::milliseconds delay, int signal, std::vector<std::string> arguments) {
  CliProgram program;
  if (arguments.empty() || arguments[0] != "bench")
    arguments.insert(arguments.begin(), {"demo", "--model", "tiny", "--steps", "100000000",
                                         "--tile-bytes", "128KiB", "--threads", "1"});
  program.start(arguments);
  // The directory is there once the run has begun.
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (program.here().names().empty() && program.running() &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(5ms);
  ASSERT_FALSE(program.here().names().empty());
  std::this_thread::sleep_for(delay);
  ASSERT_TRUE(program.running());
  program.send(signal);
  const CliProgram::End end = program.wait();
  EXPECT_EQ(end.status, 128 + signal) << end.err;
  EXPECT_EQ(end.out, "");
  EXPECT_TRUE(end.last_line().starts_with("spillway: stopped by SIG")) << end.err;
  EXPECT_TRUE(program.here().names().empty()) << "something was left behind";
}

TEST(CliStopTest, DuringTheSteps) {
  stop_after(300ms, SIGINT, {"--no-reference"});
  stop_after(150ms, SIGTERM, {"--no-reference", "--no-pipeline-write", "--engine", "threads"});
  stop_after(200ms, SIGTERM, {"--no-reference", "--ratio", "0"});
}

TEST(CliStopTest, DuringTheSetUp) { stop_after(0ms, SIGINT, {"--no-reference"}); }

TEST(CliStopTest, DuringTheRunInMemory) {
  stop_after(0ms, SIGTERM, {});
  stop_after(200ms, SIGHUP, {});
}

TEST(CliStopTest, BenchParams) {
  stop_after(0ms, SIGINT, {"bench", "params", "--passes", "1000", "--think-ms", "1000"});
  stop_after(200ms, SIGTERM, {"bench", "params", "--model", "tiny", "--passes", "1000000"});
  stop_after(300ms, SIGHUP,
             {"bench", "params", "--model", "tiny", "--passes", "1000", "--think-ms", "100000"});
}

TEST(CliStopTest, BenchStep) {
  stop_after(0ms, SIGINT, {"bench", "step", "--rounds", "100000", "--ceiling", "engine"});
  stop_after(300ms, SIGTERM,
             {"bench", "step", "--model", "tiny", "--rounds", "100000", "--ceiling", "engine"});
}

// kill -9 gives no chance to tidy up; the next run on the same path does.
TEST(CliStopTest, WhatKillLeavesTheNextRunSweeps) {
  CliProgram program;
  const std::string path = program.here().folder("nvme");
  const std::vector<std::string> arguments{"demo",        "--model", "tiny",
                                           "--nvme-path", path,      "--no-reference"};
  std::vector<std::string> endless = arguments;
  endless.insert(endless.end(), {"--steps", "100000000"});
  program.start(endless);
  while (TempDir::names_in(path).empty() && program.running()) std::this_thread::sleep_for(5ms);
  program.send(SIGKILL);
  EXPECT_EQ(program.wait().status, 1000 + SIGKILL);
  EXPECT_EQ(program.run(arguments).status, 0);
  EXPECT_TRUE(TempDir::names_in(path).empty());
}

}  // namespace
}  // namespace spillway
