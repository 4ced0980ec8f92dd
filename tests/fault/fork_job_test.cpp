// A data loader that is forked in the middle of a step: it allocates, writes files of its own and
// calls exit(). The parent's job ends bit-equal, and the child carries none of the pool.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "fault/job.h"
#include "fault/process_state.h"
#include "support/captured_log.h"
#include "support/child_process.h"

namespace spillway {
namespace {

using test::Job;

TEST(ForkJobTest, TheChildAllocatesWritesAndExitsAndTheParentEndsBitEqual) {
  const CapturedLog log;
  const test::Scratch scratch, elsewhere;
  {
    Context context(test::job_config(scratch.path()));
    Job job(context);
    job.load();
    job.step(1);
    const auto names = std::distance(std::filesystem::directory_iterator(scratch.path()),
                                     std::filesystem::directory_iterator{});
    std::vector<pid_t> children;
    int slices = 0;
    job.step(2, [&](const Slice&) {
      ++slices;
      const pid_t child = fork_beside_threads();
      if (child == 0) {
        std::vector<std::string> mine;
        for (int i = 0; i < 1000; ++i) mine.emplace_back(1000, static_cast<char>('a' + i % 26));
        std::ofstream out(elsewhere.path() / std::to_string(slices));
        for (const std::string& text : mine) out << text;
        out.close();
        std::exit(out ? 0 : 1);  // with the destructors of everything static
      }
      children.push_back(child);
    });
    EXPECT_GE(children.size(), 5u);
    for (const pid_t child : children) {
      int status = -1;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
    EXPECT_EQ(job.difference(), "");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()),
                            std::filesystem::directory_iterator{}),
              names)
        << "a directory of the parent's is gone";
    job.step(3);
    job.weights.flush();
    EXPECT_EQ(job.difference(), "");
  }
  EXPECT_TRUE(scratch.empty());
}

TEST(ForkJobTest, TheChildsMemoryLacksThePool) {
  if (test::sanitized) GTEST_SKIP() << "a sanitizer's shadow hides what a process really holds";
  const test::Scratch scratch;
  Config config = test::job_config(scratch.path());
  constexpr std::int64_t tile = 16 << 20;
  config.offload_optimizer.buffer_size = tile;  // three of them
  config.offload_param.buffer_size = 4 << 20;   // four of them
  config.io.huge_pages = Switch::off;
  Context context(config);
  Job job(context);
  job.load();
  job.step(1);
  auto run = job.optimizer.begin_step(2);
  auto held = run.next();
  const float* const in_the_pool = held->slices()[0].of<const float>("m").data();
  EXPECT_NE(test::vm_flags(in_the_pool), "");
  const std::int64_t pool =
      job.optimizer.stats().memory.region_bytes + job.weights.stats().memory.region_bytes;
  EXPECT_EQ(pool, 3 * tile + 4 * (4 << 20));
  const std::int64_t parent = test::resident_bytes();
  const ChildEnd child = in_child([&]() -> std::string {
    if (!test::vm_flags(in_the_pool).empty()) return "the pool is mapped";
    const std::int64_t mine = test::resident_bytes();
    return mine <= parent - pool + (4 << 20)
               ? "lacks it"
               : std::to_string(mine) + " of " + std::to_string(parent);
  });
  EXPECT_TRUE(child.clean());
  EXPECT_EQ(child.said, "lacks it");
}

// Calls on the parameter swapper's objects are refused in the child, and their ends do nothing.
TEST(ForkJobTest, TheParameterSwapperRefusesTheChild) {
  const CapturedLog log;
  const test::Scratch scratch;
  std::optional<Context> context(test::job_config(scratch.path()));
  std::optional<Job> job(std::in_place, *context);
  job->load();
  job->step(1);
  std::optional<Lease> reading(job->weights.fetch(job->copies[1]));
  std::optional<Lease> writing(job->weights.fetch(job->copies[0], Access::update));
  std::vector<float> to(4096);
  std::optional<ReadInto> into(job->weights.read_into(job->copies[2], std::span(to)));
  const ChildEnd child = in_child([&] {
    std::string wrong;
    const auto refused = [&](const char* what, auto call) {
      try {
        call();
        wrong += std::string(what) + " worked; ";
      } catch (const Error& error) {
        if (error.code() != Errc::forked) wrong += std::string(what) + ": " + error.what() + "; ";
      }
    };
    ParameterSwapper& weights = job->weights;
    std::vector<float> there(4096);
    refused("fetch", [&] { weights.fetch(job->copies[1]); });
    refused("fetch a unit", [&] { weights.fetch(job->units[1]); });
    refused("try_fetch", [&] { weights.try_fetch(job->units[1]); });
    refused("prefetch", [&] { weights.prefetch(job->units[1]); });
    refused("where", [&] { weights.where(job->copies[1]); });
    refused("begin_pass", [&] { weights.begin_pass("x"); });
    refused("read_into", [&] { weights.read_into(job->copies[2], std::span(there)); });
    refused("flush", [&] { weights.flush(); });
    refused("add", [&] { weights.add("x", 1, DType::f32); });
    refused("add_unit", [&] { weights.add_unit("x"); });
    refused("remove", [&] { weights.remove(job->copies[1]); });
    refused("seal", [&] { weights.seal(); });
    refused("stats", [&] { weights.stats(); });
    refused("name", [&] { weights.name(job->copies[1]); });
    refused("elements", [&] { weights.elements(job->copies[1]); });
    refused("a new swapper", [&] { ParameterSwapper another(*context); });
    refused("commit", [&] { writing->commit(); });
    refused("wait", [&] { into->wait(); });
    into.reset();
    reading.reset();
    writing.reset();
    job.reset();
    context.reset();
    return wrong;
  });
  EXPECT_TRUE(child.clean()) << child.status;
  EXPECT_EQ(child.said, "");
  into->wait();
  EXPECT_EQ(to, job->twin.params[2].w);
  into.reset();
  writing.reset();
  reading.reset();
  EXPECT_EQ(job->difference(), "");
  job.reset();
  context.reset();
  EXPECT_TRUE(scratch.empty());
}

}  // namespace
}  // namespace spillway
