// What others may see of a job's numbers: nothing, in files, descriptors, logs and core dumps.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <mutex>

#include "fault/job.h"
#include "fault/process_state.h"
#include "support/child_process.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using test::Job;

std::string target_of(int fd) {
  std::error_code gone;
  return fs::read_symlink("/proc/self/fd/" + std::to_string(fd), gone).string();
}

struct Engine {
  const char* name;
  EngineChoice choice;
};

class PrivacyTest : public testing::TestWithParam<Engine> {
 protected:
  Config config() const {
    Config config = test::job_config(scratch.path());
    config.io.engine = GetParam().choice;
    return config;
  }
  test::Scratch scratch;
};

// The umask of whoever starts the job neither opens nor closes anything.
TEST_P(PrivacyTest, FilesAre0600AndUnlinkedAndDirectories0700WhateverTheUmask) {
  for (const mode_t mask : {0000, 0022, 0177, 0777}) {
    SCOPED_TRACE(testing::Message() << "umask " << std::oct << mask);
    const mode_t before = ::umask(mask);
    std::optional<Context> context(config());
    std::optional<Job> job(std::in_place, *context);
    job->load();
    job->step(1);
    ::umask(before);
    int directories = 0, files = 0;
    for (const auto& entry : fs::directory_iterator(scratch.path())) {
      struct stat facts {};
      ASSERT_EQ(::lstat(entry.path().c_str(), &facts), 0);
      ASSERT_TRUE(S_ISDIR(facts.st_mode)) << entry.path();
      EXPECT_EQ(facts.st_mode & 07777u, 0700u) << entry.path();
      EXPECT_TRUE(fs::is_empty(entry.path())) << "the data has a name";
      ++directories;
    }
    for (const int fd : test::descriptors()) {
      struct stat facts {};
      if (!target_of(fd).starts_with(scratch.path().string()) || ::fstat(fd, &facts) != 0) continue;
      if (!S_ISREG(facts.st_mode)) continue;
      EXPECT_EQ(facts.st_mode & 07777u, 0600u);
      EXPECT_EQ(facts.st_nlink, 0u) << target_of(fd);
      EXPECT_GT(facts.st_size, 0);
      ++files;
    }
    EXPECT_EQ(directories, 2) << "one for the optimizer, one for the parameters";
    EXPECT_EQ(files, 2);
    EXPECT_EQ(job->difference(), "");
    job.reset();
    context.reset();
    EXPECT_TRUE(scratch.empty());
  }
}

// A program that the engine starts gets none of our descriptors.
TEST_P(PrivacyTest, EveryDescriptorIsClosedByAnExec) {
  const std::set<int> before = test::descriptors();
  Context context(config());
  Job job(context);
  job.load();
  job.step(1);
  ASSERT_EQ(job.forward(), "");
  int ours = 0;
  for (const int fd : test::descriptors()) {
    if (before.contains(fd)) continue;
    ++ours;
    const int flags = ::fcntl(fd, F_GETFD);
    EXPECT_TRUE(flags >= 0 && (flags & FD_CLOEXEC) != 0) << fd << ": " << target_of(fd);
  }
  EXPECT_GE(ours, 6) << "two paths, two directories, two data files";
}

// A value that is easily found again, as bytes and in print.
constexpr float secret = 1234567.875f;  // 0x4996b43f

// Everything that is logged at the most talkative level, errors included, is about tensors, never
// of them.
TEST_P(PrivacyTest, NothingOfTheTensorsIsLogged) {
  std::mutex mutex;
  std::string all;
  set_log_sink([&](LogLevel, std::string_view line) {
    const std::lock_guard lock(mutex);
    all += std::string(line) + "\n";
  });
  set_log_level(LogLevel::debug);
  {
    Config loud = config();
    loud.io.timeout = 5;
    Context context(loud);
    Job job(context);
    job.load();
    const auto keep = [](const Slice& slice) {
      for (const char* state : {"w", "m", "v"})
        for (float& value : slice.of<float>(state)) value = secret;
    };
    job.optimizer.step(1, keep);
    // An engine that fails in the middle of a step, with the bytes in its hands.
    EXPECT_THROW(job.optimizer.step(2,
                                    [&](const Slice& slice) {
                                      keep(slice);
                                      throw std::runtime_error("the engine's own");
                                    }),
                 std::runtime_error);
    // Damage that is found by its checksum.
    for (const int fd : test::descriptors()) {
      struct stat facts {};
      if (!target_of(fd).starts_with(scratch.path().string()) || ::fstat(fd, &facts) != 0) continue;
      if (!S_ISREG(facts.st_mode)) continue;
      const std::vector<char> garbage(static_cast<std::size_t>(facts.st_size), 'x');
      const int again =
          ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_WRONLY | O_CLOEXEC);
      ASSERT_GE(again, 0);
      ASSERT_EQ(::pwrite(again, garbage.data(), garbage.size(), 0), std::ssize(garbage));
      ::fsync(again);
      ::close(again);
    }
    std::vector<float> values(9000);
    try {
      job.optimizer.read_state<float>(job.states[0], "m", 0, std::span(values));
      ADD_FAILURE() << "the damage was not seen";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::corrupt);
      all += std::string(error.what()) + "\n";
    }
  }
  set_log_level(LogLevel::warning);
  set_log_sink({});
  EXPECT_NE(all.find("effective config"), std::string::npos) << "the log was not even on";
  EXPECT_NE(all.find("layer0"), std::string::npos);
  std::string bytes(sizeof secret, '\0');
  std::memcpy(bytes.data(), &secret, sizeof secret);
  for (const std::string& trace : {bytes, std::string("1234567"), std::string("1.23456"),
                                   std::string("4996b43f"), std::string("3fb49649")})
    EXPECT_EQ(all.find(trace), std::string::npos) << trace << " in\n" << all;
}

INSTANTIATE_TEST_SUITE_P(Engines, PrivacyTest,
                         testing::Values(Engine{"automatic", EngineChoice::automatic},
                                         Engine{"threads", EngineChoice::threads}),
                         [](const auto& engine) { return std::string(engine.param.name); });

// All memory that holds tensors, wherever they live, is left out of core dumps when asked for.
TEST(DumpMemoryTest, TheKernelLeavesThePoolOutOfCoreDumpsIfAskedTo) {
  for (const bool dump : {true, false}) {
    for (const auto& [device, ratio] : {std::pair{OffloadDevice::nvme, 1.0},
                                        {OffloadDevice::nvme, 0.5},
                                        {OffloadDevice::cpu, 1.0},
                                        {OffloadDevice::none, 1.0}}) {
      SCOPED_TRACE(testing::Message() << "device " << static_cast<int>(device) << " ratio " << ratio
                                      << (dump ? " dumped" : " not dumped"));
      const test::Scratch scratch;
      Config config = test::job_config(scratch.path());
      config.offload_optimizer.device = config.offload_param.device = device;
      config.offload_optimizer.ratio = ratio;
      config.io.dump_memory = dump;
      Context context(config);
      Job job(context, Job::small_model(), true);
      job.load();
      int looked_at = 0;
      const auto look = [&](const void* at) {
        const std::string flags = test::vm_flags(at);
        ASSERT_NE(flags, "") << "no mapping";
        EXPECT_EQ(flags.find(" dd ") != std::string::npos, !dump) << flags;
        // And a forked child gets none of it either way.
        EXPECT_NE(flags.find(" dc "), std::string::npos) << flags;
        ++looked_at;
      };
      job.step(1, [&](const Slice& slice) { look(slice.of<const float>("m").data()); });
      look(job.weights.fetch(job.copies[0]).as<const float>().data());  // more than the cache holds
      look(job.weights.fetch(job.copies[2]).as<const float>().data());
      look(job.weights.fetch(job.copies[3], Access::overwrite).as<float>().data());
      EXPECT_GE(looked_at, 7);
      EXPECT_EQ(job.difference(), "");
    }
  }
}

}  // namespace
}  // namespace spillway
