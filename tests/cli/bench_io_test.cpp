// `spillway bench io` as its users run it: what it says, what it keeps to, what it leaves. Where it
// runs fio it sets huge pages aside, as root, and so runs alone (SystemTest).
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <thread>
#include <utility>

#include "cli_program.h"

namespace spillway {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr std::int64_t MiB = 1 << 20;

// The least that still is a run, where `more` does not say otherwise.
std::vector<std::string> small(std::vector<std::string> more) {
  std::vector<std::string> words{"bench", "io"};
  for (const auto& [option, value] :
       {std::pair{"--size", "8MiB"}, std::pair{"--seconds", "0.05"}, std::pair{"--rounds", "2"}})
    if (std::ranges::find(more, option) == more.end()) {
      words.emplace_back(option);
      words.emplace_back(value);
    }
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

bool has_fio() {
  CliProgram program;
  const json machine = json::parse(
      program.run(small({"--pattern", "read", "--ceiling", "none", "--json"})).out, nullptr, false);
  return machine.is_object() && machine["machine"]["fio"].is_string();
}

void expect_spread(const json& spread) {
  ASSERT_TRUE(spread.is_object()) << spread;
  EXPECT_LE(spread["min"].get<double>(), spread["median"].get<double>());
  EXPECT_LE(spread["median"].get<double>(), spread["max"].get<double>());
  EXPECT_GT(spread["min"].get<double>(), 0);
}

TEST(CliBenchIoSystemTest, JsonHoldsWhatIsPromised) {
  CliProgram program;
  const CliProgram::End end = program.run(small({"--json"}));
  ASSERT_EQ(end.status, 0) << end.err;
  const json out = json::parse(end.out);
  EXPECT_TRUE(out["machine"]["kernel"].is_string());
  EXPECT_TRUE(out["machine"]["paths"][0]["file_system"].is_string());
  ASSERT_EQ(out["results"].size(), 3U);
  const bool fio = out["machine"]["fio"].is_string();
  std::vector<std::string> patterns;
  for (const json& result : out["results"]) {
    patterns.push_back(result["pattern"]);
    EXPECT_TRUE(result["engine"] == "io_uring" || result["engine"] == "threads");
    EXPECT_EQ(result["block_size"], MiB);
    EXPECT_EQ(result["queue_depth"], 8);
    for (const char* key : {"gbps", "ceiling_gbps", "share_of_ceiling", "withheld", "device",
                            "cpu_seconds_per_gib", "direct_io", "cached_bytes"})
      EXPECT_TRUE(result.contains(key)) << key;
    // Others may write to the disk meanwhile, which only makes its counters larger.
    expect_spread(result["gbps"]);
    if (fio) {
      expect_spread(result["ceiling_gbps"]);
      expect_spread(result["share_of_ceiling"]);
      expect_spread(result["control"]);
    } else {
      EXPECT_TRUE(result["ceiling_gbps"].is_null());
    }
    if (result["pattern"] != "write") expect_spread(result["read_latency"]["p99_us"]);
    if (result["pattern"] != "read") {
      expect_spread(result["write_latency"]["p50_us"]);
      EXPECT_GT(result["pages_checked"].get<int>(), 0);
    }
  }
  EXPECT_EQ(patterns, (std::vector<std::string>{"read", "write", "mixed"}));
  EXPECT_TRUE(program.here().names().empty()) << "something was left behind";
}

TEST(CliBenchIoTest, TheTextIsForPeople) {
  CliProgram program;
  const CliProgram::End end = program.run(small({"--pattern", "read", "--ceiling", "none"}));
  ASSERT_EQ(end.status, 0) << end.err;
  for (const char* words : {"read, 1 MiB x 8", "GB/s", "CPU s per GiB", "read us", "Linux"})
    EXPECT_NE(end.out.find(words), std::string::npos) << words << "\n" << end.out;
}

TEST(CliBenchIoTest, JsonToAFileLeavesTheTextOnTheScreen) {
  CliProgram program;
  const std::string file = program.here().text() + "/out.json";
  const CliProgram::End end =
      program.run(small({"--pattern", "read", "--ceiling", "none", "--json", file}));
  ASSERT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.out.find("GB/s"), std::string::npos);
  std::ifstream stream(file);
  EXPECT_EQ(json::parse(stream)["results"].size(), 1U);
}

TEST(CliBenchIoTest, SweepsOverLists) {
  CliProgram program;
  const CliProgram::End end = program.run(
      small({"--pattern", "read", "--block-size", "64KiB,256KiB", "--queue-depth", "1,4",
             "--engine", "auto,threads", "--ceiling", "none", "--rounds", "1", "--json"}));
  ASSERT_EQ(end.status, 0) << end.err;
  const json out = json::parse(end.out);
  ASSERT_EQ(out["results"].size(), 8U);
  EXPECT_EQ(out["results"][1]["engine"], "threads");
  EXPECT_EQ(out["results"][7]["block_size"], 256 * 1024);
  EXPECT_EQ(out["results"][7]["queue_depth"], 4);
}

// What is written is counted by the processes themselves, and bounded over all of them and fio.
TEST(CliBenchIoSystemTest, NoMoreIsWrittenThanAllowed) {
  CliProgram program;
  const CliProgram::End end =
      program.run(small({"--pattern", "write,mixed", "--block-size", "64KiB", "--seconds", "30",
                         "--max-written", "40MiB", "--json"}));
  ASSERT_EQ(end.status, 0) << end.err;
  const json out = json::parse(end.out);
  EXPECT_LE(out["bytes_written"].get<std::int64_t>(), 40 * MiB);
  EXPECT_GT(out["bytes_written"].get<std::int64_t>(), 20 * MiB) << "and it is made use of";
  std::int64_t ours = 8 * MiB;
  for (const json& result : out["results"]) ours += result["bytes_written"].get<std::int64_t>();
  EXPECT_LE(ours, out["bytes_written"].get<std::int64_t>());
}

TEST(CliBenchIoSystemTest, SeveralRanksAndPaths) {
  CliProgram program;
  const std::string one = program.here().folder("one"), two = program.here().folder("two");
  const CliProgram::End end =
      program.run(small({"--nvme-path", one, two, "--ranks", "2", "--pattern", "mixed", "--json"}));
  ASSERT_EQ(end.status, 0) << end.err;
  const json out = json::parse(end.out);
  EXPECT_EQ(out["results"][0]["ranks"], 2);
  EXPECT_EQ(out["paths"].size(), 2U);
  EXPECT_EQ(out["settings"]["file_bytes"], 8 * MiB);
  EXPECT_GT(out["results"][0]["bytes_read"].get<std::int64_t>(), 0);
  EXPECT_TRUE(TempDir::names_in(one).empty());
  EXPECT_TRUE(TempDir::names_in(two).empty());
}

TEST(CliBenchIoTest, TheTraceHasEveryTransferInItsLane) {
  CliProgram program;
  const std::string file = program.here().text() + "/trace.json";
  const CliProgram::End end =
      program.run(small({"--pattern", "mixed", "--ceiling", "none", "--rounds", "1", "--seconds",
                         "30", "--max-written", "24MiB", "--trace", file, "--json"}));
  ASSERT_EQ(end.status, 0) << end.err;
  std::ifstream stream(file);
  const json trace = json::parse(stream);
  EXPECT_EQ(trace["otherData"]["spans_dropped"], 0);
  std::map<std::pair<int, int>, double> ends;
  std::map<std::string, std::int64_t> bytes;
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    double& last = ends[{event["pid"], event["tid"]}];
    EXPECT_GE(event["ts"].get<double>(), last);
    last = event["ts"].get<double>() + event["dur"].get<double>();
    bytes[event["name"]] += event["args"]["bytes"].get<std::int64_t>();
  }
  const json result = json::parse(end.out)["results"][0];
  EXPECT_EQ(bytes["read"], result["bytes_read"]);
  EXPECT_EQ(bytes["write"], result["bytes_written"]);
}

TEST(CliBenchIoTest, AFileSystemInMemorySaysBuffered) {
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "there is no /dev/shm here";
  CliProgram program;
  std::string name = "/dev/shm/spillway-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) GTEST_SKIP() << "/dev/shm may not be written to";
  const CliProgram::End text =
      program.run(small({"--nvme-path", name, "--pattern", "read", "--ceiling", "none"}));
  const CliProgram::End end =
      program.run(small({"--nvme-path", name, "--pattern", "read", "--ceiling", "none", "--json"}));
  EXPECT_TRUE(TempDir::names_in(name).empty());
  std::filesystem::remove_all(name);
  ASSERT_EQ(end.status, 0) << end.err;
  EXPECT_NE(text.out.find("BUFFERED"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("nothing counts"), std::string::npos) << text.out;
  const json out = json::parse(end.out);
  EXPECT_EQ(out["results"][0]["direct_io"], false);
  EXPECT_TRUE(out["results"][0]["device"].is_null());
  EXPECT_NE(end.err.find("no block device"), std::string::npos) << end.err;
}

TEST(CliBenchIoTest, WithoutFioItSaysHowToGetIt) {
  CliProgram program;
  program.prepare = [] { ::setenv("PATH", "/nonexistent", 1); };
  const CliProgram::End end = program.run(small({"--pattern", "read"}));
  EXPECT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.out.find("apt-get install fio"), std::string::npos) << end.out;
  const CliProgram::End demanded = program.run(small({"--pattern", "read", "--ceiling", "fio"}));
  EXPECT_EQ(demanded.status, 2);
  EXPECT_NE(demanded.err.find("apt-get install fio"), std::string::npos) << demanded.err;
  EXPECT_EQ(demanded.out, "");
}

TEST(CliBenchIoSystemTest, RunsThatTheBudgetCutShortAreNotPassedOver) {
  CliProgram program;
  const CliProgram::End end =
      program.run(small({"--pattern", "write", "--seconds", "5", "--max-written", "40MiB"}));
  EXPECT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.err.find("less than half of --seconds"), std::string::npos) << end.err;
  EXPECT_NE(end.out.find("less than half of --seconds"), std::string::npos) << end.out;
}

void expect_refused(std::vector<std::string> arguments, int status, const std::string& message) {
  CliProgram program;
  const CliProgram::End end = program.run(arguments);
  EXPECT_EQ(end.status, status) << end.err;
  EXPECT_EQ(end.out, "");
  EXPECT_NE(end.err.find(message), std::string::npos) << end.err;
  EXPECT_TRUE(end.err.starts_with("spillway: ")) << end.err;
  EXPECT_TRUE(program.here().names().empty()) << "something was left behind";
}

TEST(CliBenchIoTest, WhatIsWrongIsSaid) {
  expect_refused({"bench"}, 2, "which bench");
  expect_refused({"bench", "oi"}, 2, "oi");
  expect_refused({"bench", "io", "--bogus"}, 2, "--bogus");
  expect_refused({"bench", "io", "--pattern", "append"}, 2, "append");
  expect_refused({"bench", "io", "--pattern", "read,append"}, 2, "append");
  expect_refused({"bench", "io", "--engine", "aio"}, 2, "aio");
  expect_refused({"bench", "io", "--block-size", "1000"}, 2, "4096");
  expect_refused({"bench", "io", "--block-size", "x"}, 2, "--block-size");
  expect_refused({"bench", "io", "--queue-depth", "0"}, 2, "--queue-depth");
  expect_refused({"bench", "io", "--ranks", "0"}, 2, "--ranks");
  expect_refused({"bench", "io", "--rounds", "1.5"}, 2, "--rounds");
  expect_refused({"bench", "io", "--seconds", "0"}, 2, "--seconds");
  expect_refused({"bench", "io", "--seconds", "nan"}, 2, "--seconds");
  expect_refused({"bench", "io", "--seconds", "4000"}, 2, "--seconds");
  expect_refused({"bench", "io", "--size", "auto"}, 2, "--size");
  expect_refused({"bench", "io", "--size", "1000"}, 2, "--size");
  expect_refused({"bench", "io", "--max-written", "1MiB"}, 2, "--max-written");
  expect_refused({"bench", "io", "--ceiling", "dd"}, 2, "dd");
  expect_refused(small({"--ceiling", "none", "--nvme-path", "absent"}), 2, "absent");
  expect_refused(small({"--ceiling", "none", "--nvme-path", "/dev/null"}), 2, "/dev/null");
  expect_refused(small({"--trace", "absent/trace.json"}), 2, "absent/trace.json");
  expect_refused(small({"--json", "absent/out.json"}), 2, "absent/out.json");
}

TEST(CliBenchIoTest, WhatTheMachineCannotGiveIsAnother) {
  CliProgram program;
  program.prepare = [] {
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
  const CliProgram::End end = program.run(small({"--ceiling", "none"}));
  EXPECT_EQ(end.status, 1) << end.err;
  EXPECT_NE(end.err.find("RLIMIT_FSIZE"), std::string::npos) << end.err;
  EXPECT_TRUE(program.here().names().empty());
}

// A second is enough to be in the middle of it, whatever it is then.
void stop_after(std::chrono::milliseconds delay, int signal, std::vector<std::string> more) {
  CliProgram program;
  const std::string path = program.here().folder("nvme");
  std::vector<std::string> words{"bench",  "io",   "--nvme-path", path,
                                 "--size", "8MiB", "--seconds",   "600"};
  words.insert(words.end(), more.begin(), more.end());
  program.start(words);
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (TempDir::names_in(path).empty() && program.running() &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(5ms);
  ASSERT_FALSE(TempDir::names_in(path).empty());
  std::this_thread::sleep_for(delay);
  ASSERT_TRUE(program.running());
  program.send(signal);
  const CliProgram::End end = program.wait();
  if (signal == SIGKILL) {
    EXPECT_EQ(end.status, 1000 + SIGKILL);
    // Its ranks are told by the kernel, and tidy up.
    while (!TempDir::names_in(path).empty() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(5ms);
  } else {
    EXPECT_EQ(end.status, 128 + signal) << end.err;
    EXPECT_TRUE(end.last_line().starts_with("spillway: stopped by SIG")) << end.err;
  }
  EXPECT_EQ(end.out, "");
  EXPECT_TRUE(TempDir::names_in(path).empty()) << "something was left behind";
}

TEST(CliBenchIoStopTest, DuringOurRun) {
  stop_after(700ms, SIGINT, {"--ceiling", "none", "--pattern", "read"});
  stop_after(700ms, SIGTERM, {"--ceiling", "none", "--pattern", "mixed", "--ranks", "2"});
}

TEST(CliBenchIoStopTest, DuringTheFilling) { stop_after(0ms, SIGINT, {"--ceiling", "none"}); }

TEST(CliBenchIoStopSystemTest, DuringARunOfFio) {
  if (!has_fio()) GTEST_SKIP() << "fio is not installed";
  stop_after(1500ms, SIGINT, {"--pattern", "read"});
}

TEST(CliBenchIoStopTest, KilledItsRanksStillTidyUp) {
  stop_after(700ms, SIGKILL, {"--ceiling", "none", "--pattern", "write", "--ranks", "2"});
}

}  // namespace
}  // namespace spillway
