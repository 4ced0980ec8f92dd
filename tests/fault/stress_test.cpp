// Every public call that may be concurrent, at once, on one context: passes of two optimizer
// swappers, leases of a parameter swapper, readers, figures, other contexts that come and go. The
// values are checked, and ThreadSanitizer looks on. docs/threads.md is the list.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "fault/job.h"
#include "support/captured_log.h"

namespace spillway {
namespace {

using test::Job;

int rounds() { return std::getenv("SPILLWAY_SOAK") != nullptr ? 300 : 12; }

// Throws on anything but what a busy swapper may answer.
template <typename Call>
void allow_busy(Call call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.code() != Errc::busy) ADD_FAILURE() << error.what();
  }
}

TEST(StressTest, AllThatMayBeConcurrentIs) {
  const CapturedLog log;
  const test::Scratch scratch;
  {
    Config config = test::job_config(scratch.path());
    config.offload_optimizer.buffer_count = 4;
    config.offload_param.buffer_count = 8;
    Context context(config);
    Job job(context, Job::small_model(), true);  // undo: read_state works during a run
    job.load();
    OptimizerSwapper second(context, {.states = {{"a"}}, .name = "second"});
    const ParamId lone = second.add("lone", 20'000);
    const UnitId aside = job.weights.add_unit("aside");
    const ParamId own = job.weights.add("own", 9000, DType::f32, {.unit = aside});

    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    const auto repeat = [&](auto work) {
      threads.emplace_back([&over, work, seed = threads.size()]() mutable {
        std::mt19937 random(static_cast<unsigned>(seed));
        try {
          while (!over) work(random);
        } catch (const std::exception& error) {
          ADD_FAILURE() << error.what();
        }
      });
    };
    // Another swapper's passes.
    repeat([&, n = std::int64_t{0}](std::mt19937&) mutable {
      ++n;
      second.step(n, [](const Slice& slice) {
        for (float& value : slice.of<float>("a")) value += 1;
      });
      float first = 0;
      second.read_state<float>(lone, "a", 0, std::span(&first, 1));
      EXPECT_EQ(first, static_cast<float>(n));
    });
    // Readers of the state and of the weights that the step is changing.
    repeat([&](std::mt19937& random) {
      const std::size_t layer = random() % job.states.size();
      std::vector<float> values(job.twin.params[layer].m.size());
      allow_busy(
          [&] { job.optimizer.read_state<float>(job.states[layer], "m", 0, std::span(values)); });
    });
    repeat([&](std::mt19937& random) {
      const std::size_t layer = random() % job.units.size();
      switch (random() % 6) {
        case 0: job.weights.prefetch(job.units[layer]); break;
        case 1: std::ignore = job.weights.try_fetch(job.units[layer]); break;
        case 2: job.weights.begin_pass(random() % 2 == 0 ? "forward" : "evaluation"); break;
        case 3: {
          std::vector<float> to(static_cast<std::size_t>(job.weights.elements(own)));
          job.weights.read_into(own, std::span(to)).wait();
          for (const float value : to) ASSERT_EQ(value, to[0]) << "half of one version";
          break;
        }
        case 4: {
          Lease lease = job.weights.fetch(job.copies[layer]);
          std::move(lease).release_after([&over] { return true; });
          break;
        }
        default: std::ignore = job.weights.where(job.copies[layer]); break;
      }
    });
    repeat([&, version = 0.0f](std::mt19937& random) mutable {
      Lease lease = job.weights.fetch(own, random() % 2 == 0 ? Access::update : Access::overwrite);
      version += 1;
      for (float& value : lease.as<float>()) value = version;
      lease.commit();
      if (random() % 4 == 0) job.weights.flush();
    });
    // Figures, and tensors that come and go.
    repeat([&](std::mt19937& random) {
      std::ignore = context.stats();
      std::ignore = context.describe_plan();
      std::ignore = job.optimizer.stats();
      std::ignore = job.weights.stats();
      std::ignore = context.config();
      if (random() % 4 == 0) {
        const ParamId extra = job.weights.add("extra", 5000, DType::f32, {.unit = aside});
        job.weights.remove(extra);
      }
      allow_busy([&] { second.write_state<float>(lone, "a", 7, std::span<const float>()); });
      set_log_level(LogLevel::warning);
    });
    // Other contexts on the same path.
    repeat([&](std::mt19937&) {
      Context other(test::job_config(scratch.path()));
      Job small(other, {5000});
      small.load();
      small.step(1);
      EXPECT_EQ(small.difference(), "");
    });

    for (std::int64_t n = 1; n <= rounds() && !HasFailure(); ++n) job.step(n);
    over = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(job.difference(), "");
  }
  EXPECT_TRUE(scratch.empty());
}

// Swappers and contexts are destroyed while their reads and writes are on the way.
TEST(StressTest, DestructionWithIoInFlight) {
  const CapturedLog log;
  const test::Scratch scratch;
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < rounds(); ++i) {
    Context context(test::job_config(scratch.path()));
    std::optional<Job> job(std::in_place, context);
    job->load();
    auto run = job->optimizer.begin_step(1);
    const int tiles = static_cast<int>(random() % 4);
    for (int t = 0; t < tiles; ++t)
      if (auto tile = run.next()) {
        for (const Slice& slice : tile->slices()) test::update(slice, 1);
        if (random() % 3 != 0) tile->commit();
      }
    job->weights.prefetch(job->units);
    for (const ParamId weights : job->copies) {
      Lease lease = job->weights.fetch(weights, Access::update);
      lease.as<float>()[0] += 1;
      if (random() % 2 == 0) lease.commit();
    }
    std::vector<float> to(4096);
    ReadInto into = job->weights.read_into(job->copies[2], std::span(to));
    into = {};  // ends before the bytes are there
    std::thread elsewhere([moved = std::move(run)]() mutable { auto gone = std::move(moved); });
    elsewhere.join();
  }
  EXPECT_TRUE(scratch.empty());
}

}  // namespace
}  // namespace spillway
