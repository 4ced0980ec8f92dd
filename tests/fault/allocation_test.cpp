// The heap runs out at every single allocation in turn, ours and those of our threads: nothing
// leaks, nothing is half made, nothing terminates, and the same call works when there is memory
// again. SPILLWAY_SOAK=1 fails every one; the suite, those of construction by turns.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <random>
#include <thread>

#include "fault/job.h"
#include "fault/process_state.h"
#include "support/heap/heap.h"

namespace spillway {
namespace {

using test::FailingHeap;
using test::Job;

bool in_full() { return std::getenv("SPILLWAY_SOAK") != nullptr; }

/// What `call` did while the `n`-th allocation, and `times - 1` more, failed.
struct Outcome {
  bool threw = false;
  bool refused = false;  ///< an allocation of its
  std::string other;     ///< an exception that is not about memory
};

template <typename Call>
Outcome fail_at(std::int64_t n, std::int64_t times, Call call) {
  Outcome outcome;
  std::string text;
  text.reserve(1000);
  {
    const FailingHeap failing(n, times);
    try {
      call();
    } catch (const std::bad_alloc&) {
      outcome.threw = true;
    } catch (const Error& error) {
      outcome.threw = true;
      if (error.code() != Errc::out_of_memory) text.append(error.what(), 0, 900);
    }
    outcome.refused = FailingHeap::refused() > 0;
  }
  outcome.other = text;
  return outcome;
}

struct Way {
  const char* name;
  OffloadDevice device;
  double ratio = 1;
  bool undo = false;
  bool fast_init = true;
  EngineChoice engine = EngineChoice::automatic;
};

// Blocks beyond `before`. Workers that nobody joins free theirs a moment later.
std::int64_t left_over(std::int64_t before) {
  for (int i = 0; i < 500 && test::heap().blocks != before; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return test::heap().blocks - before;
}

class AllocationTest : public testing::TestWithParam<Way> {
 protected:
  Config config() const {
    Config config = test::job_config(scratch.path());
    config.offload_optimizer.device = config.offload_param.device = GetParam().device;
    config.offload_optimizer.ratio = GetParam().ratio;
    config.offload_optimizer.fast_init = GetParam().fast_init;
    config.io.engine = GetParam().engine;
    return config;
  }
  /// A whole life, from construction to the last destructor.
  void live() const {
    Context context(config());
    Job job(context, {5000, 7, 4096}, GetParam().undo);
    job.load();
    job.step(1);
    if (const std::string wrong = job.forward(); !wrong.empty()) throw std::logic_error(wrong);
    job.weights.flush();
  }
  // What is logged of failures, which is much, is no part of what is counted.
  AllocationTest() {
    set_log_sink([](LogLevel, std::string_view) {});
  }
  ~AllocationTest() override { set_log_sink({}); }
  test::Scratch scratch;
};

TEST_P(AllocationTest, AWholeLifeLeavesNothingWhicheverAllocationFails) {
  live();
  live();  // whatever is made once per process is there now
  std::mt19937 random(std::random_device{}());
  for (const std::int64_t times : {1, 4}) {
    const auto allocations = [&] {
      const std::int64_t before = test::heap().allocations;
      live();
      return test::heap().allocations - before;
    }();
    ASSERT_GT(allocations, 100);
    const std::int64_t stride = in_full() ? 1 : std::max<std::int64_t>(1, allocations / 30);
    int failures = 0;
    for (std::int64_t n = 1;; n += 1 + static_cast<std::int64_t>(random() % (2 * stride - 1))) {
      const auto files = test::descriptors();
      const std::int64_t blocks = test::heap().blocks;
      const Outcome outcome = fail_at(n, times, [&] { live(); });
      if (!outcome.refused) break;
      failures += outcome.threw;
      EXPECT_EQ(outcome.other, "") << "allocation " << n;
      EXPECT_TRUE(scratch.empty()) << "allocation " << n;
      EXPECT_EQ(test::descriptors(), files) << "allocation " << n;
      EXPECT_EQ(left_over(blocks), 0) << "leaked at allocation " << n;
      if (HasFailure()) return;
    }
    EXPECT_GT(failures, 10);
  }
  live();
}

// The calls of a step on objects that live on: a call that fails is simply made again.
TEST_P(AllocationTest, ASteppingJobGoesOnWhicheverAllocationFails) {
  Context context(config());
  // Where memory is the home, only undo makes a failed step harmless.
  Job job(context, Job::small_model(), GetParam().undo || GetParam().device != OffloadDevice::nvme);
  job.load();
  std::int64_t step = 1;
  job.step(step);
  ASSERT_EQ(job.difference(), "");
  for (const std::int64_t times : {1, 40}) {
    for (std::int64_t n = 1;; ++n) {
      SCOPED_TRACE(testing::Message() << "allocation " << n << ", " << times << " of them");
      ++step;
      const test::Twin before = job.twin;
      const Outcome outcome = fail_at(n, times, [&] { job.step(step); });
      EXPECT_EQ(outcome.other, "");
      if (outcome.threw) {
        job.twin = before;  // it may have been its vector
        job.step(step);
      }
      const std::string wrong = job.difference();
      EXPECT_EQ(wrong, "");
      if (HasFailure() || !outcome.refused) break;
    }
    if (HasFailure()) break;
  }
}

/// The job, and tensors that come and go beside it.
struct Calls : Job {
  using Job::Job;
  void try_out(const ParamOptions& first, TensorOptions copy) {
    // What was added last time, if it could not be removed then.
    const auto remove = [](auto& swapper, std::optional<ParamId>& id) {
      if (id) swapper.remove(*id);
      id.reset();
    };
    remove(optimizer, extra_state);
    remove(weights, extra_copy);
    if (!aside) aside = weights.add_unit("aside");
    copy.unit = *aside;
    extra_state = optimizer.add("extra", 5000, first);
    remove(optimizer, extra_state);
    extra_copy = weights.add("extra", 5000, DType::f32, copy);
    remove(weights, extra_copy);
  }
  std::optional<ParamId> extra_state, extra_copy;
  std::optional<UnitId> aside;
  int passes = 0;
};

// Each call by itself, and what it does on our I/O thread.
TEST_P(AllocationTest, EachCallMayFailAndBeMadeAgain) {
  const std::vector<std::pair<const char*, std::function<void(Calls&)>>> calls{
      {"fetch a unit", [](Calls& job) { job.weights.fetch(job.units[3]); }},
      {"units that displace each other",
       [](Calls& job) {
         job.weights.begin_pass("pass " + std::to_string(++job.passes));  // no order is known
         for (const UnitId unit : job.units) job.weights.fetch(unit);
       }},
      {"read", [](Calls& job) { job.weights.fetch(job.copies[0]); }},
      {"update",
       [](Calls& job) {
         Lease lease = job.weights.fetch(job.copies[0], Access::update);
         lease.commit();
       }},
      {"overwrite a range",
       [](Calls& job) {
         Lease lease = job.weights.fetch(job.copies[0], Access::overwrite, {4096, 4096});
         std::copy_n(job.twin.params[0].w.begin() + 4096, 4096, lease.as<float>().begin());
         lease.commit();
       }},
      {"prefetch", [](Calls& job) { job.weights.prefetch(job.units); }},
      {"try_fetch", [](Calls& job) { std::ignore = job.weights.try_fetch(job.units[2]); }},
      {"begin_pass", [](Calls& job) { job.weights.begin_pass("another"); }},
      {"a pass over all",
       [](Calls& job) {
         job.weights.begin_pass("all");
         for (const UnitId unit : job.units) job.weights.fetch(unit);
       }},
      {"read_into",
       [](Calls& job) {
         static std::vector<float> to(9000);
         job.weights.read_into(job.copies[0], std::span(to)).wait();
         if (to != job.twin.params[0].w) throw std::logic_error("read_into read something else");
       }},
      {"release_after",
       [](Calls& job) { job.weights.fetch(job.copies[3]).release_after([] { return true; }); }},
      {"flush", [](Calls& job) { job.weights.flush(); }},
      {"add and remove", [](Calls& job) { job.try_out({}, {}); }},
      {"add with init",
       [](Calls& job) {
         static const std::vector<float> values(5000, 2.0f);
         const auto bytes = std::as_bytes(std::span(values));
         ParamOptions first;
         first.init = {{"m", bytes}};
         job.try_out(first, {.init = bytes});
       }},
      {"units",
       [](Calls& job) {
         const std::string label = "one more unit";
         job.optimizer.add_unit(label);
         job.weights.add_unit(label);
       }},
      {"read_state",
       [](Calls& job) {
         float value = 0;
         job.optimizer.read_state<float>(job.states[0], "m", 100, std::span(&value, 1));
         if (value != job.twin.params[0].m[100]) throw std::logic_error("read_state is wrong");
       }},
      {"write_state",
       [](Calls& job) {
         job.optimizer.write_state<float>(job.states[0], "m", 0,
                                          std::span<const float>(job.twin.params[0].m));
       }},
      {"a pass that only reads",
       [](Calls& job) {
         auto run = job.optimizer.begin({.read = {"w"}, .order = Order::registration});
         while (auto tile = run.next()) tile->commit();
       }},
      {"a run that is left early",
       [](Calls& job) {
         auto run = job.optimizer.begin({.read = {"w"}});
         std::ignore = run.upcoming();
         std::ignore = run.next();
       }},
      {"figures",
       [](Calls& job) {
         std::ignore = job.optimizer.stats();
         std::ignore = job.weights.stats();
       }},
  };
  Context context(config());
  // Where memory is the home, only undo makes a failed step harmless.
  Calls job(context, Job::small_model(),
            GetParam().undo || GetParam().device != OffloadDevice::nvme);
  job.load();
  job.step(1);
  ASSERT_EQ(job.difference(), "");
  for (const auto& [what, call] : calls) {
    for (const std::int64_t times : {1, 40}) {
      for (std::int64_t n = 1;; n += in_full() ? 1 : 1 + n / 8) {
        SCOPED_TRACE(testing::Message() << what << ", allocation " << n << ", " << times);
        const Outcome outcome = fail_at(n, times, [&] { call(job); });
        EXPECT_EQ(outcome.other, "");
        call(job);
        if (outcome.threw) {
          EXPECT_EQ(job.difference(), "");
        }
        EXPECT_EQ(job.optimizer.stats().parameters, 4) << "one is half made";
        EXPECT_EQ(job.weights.stats().parameters, 4) << "one is half made";
        if (HasFailure()) return;
        if (!outcome.refused) break;
      }
    }
  }
  job.step(2);
  EXPECT_EQ(job.difference(), "");
}

INSTANTIATE_TEST_SUITE_P(Places, AllocationTest,
                         testing::Values(Way{"nvme", OffloadDevice::nvme},
                                         Way{.name = "nvme_threads",
                                             .device = OffloadDevice::nvme,
                                             .engine = EngineChoice::threads},
                                         Way{.name = "nvme_half_undo_written",
                                             .device = OffloadDevice::nvme,
                                             .ratio = 0.5,
                                             .undo = true,
                                             .fast_init = false},
                                         Way{"cpu", OffloadDevice::cpu},
                                         Way{"none", OffloadDevice::none}),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace spillway
