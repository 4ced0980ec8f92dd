#include "step_work.h"

#include <gtest/gtest.h>

#include <vector>

#include "in_memory_run.h"
#include "offloaded_run.h"
#include "support/temp_dir.h"

namespace spillway::demo {
namespace {

constexpr WorkKind kinds[] = {WorkKind::adamw, WorkKind::fill, WorkKind::none};

TEST(StepWorkTest, NamesComeBack) {
  for (const WorkKind kind : kinds) EXPECT_EQ(work_named(name_of(kind)), kind);
  EXPECT_FALSE(work_named("adam").has_value());
}

TEST(StepWorkTest, RepeatingIsDoingItAgain) {
  std::vector<float> a(5000, 1), b(5000, 1), zero(5000), m1(5000), v1(5000), m2(5000), v2(5000);
  const Turn once{.tensor = 0,
                  .first = 0,
                  .count = 5000,
                  .master = a.data(),
                  .exp_avg = m1.data(),
                  .exp_avg_sq = v1.data()};
  const Turn twice{.tensor = 0,
                   .first = 0,
                   .count = 5000,
                   .master = b.data(),
                   .exp_avg = m2.data(),
                   .exp_avg_sq = v2.data()};
  const WorkOfStep plain({.kind = WorkKind::adamw}, 7, 1);
  plain(once), plain(once);
  WorkOfStep({.kind = WorkKind::adamw, .repeat = 2}, 7, 1)(twice);
  EXPECT_EQ(a, b);
  EXPECT_EQ(v1, v2);
  EXPECT_NE(m1, zero);
}

TEST(StepWorkTest, FillLeavesTheNumberOfTheStep) {
  std::vector<float> a(100), m(100), v(100);
  const Turn turn{.tensor = 0,
                  .first = 0,
                  .count = 100,
                  .master = a.data(),
                  .exp_avg = m.data(),
                  .exp_avg_sq = v.data()};
  WorkOfStep({.kind = WorkKind::fill}, 7, 42)(turn);
  for (const auto* state : {&a, &m, &v}) EXPECT_EQ(*state, std::vector<float>(100, 42));
}

// Whatever is computed, it is the same from disk as in memory.
TEST(StepWorkTest, OffloadedIsAsInMemory) {
  const TempDir folder;
  const Model model = make_model("tiny");
  ComputeThreads threads(2);
  for (const WorkKind kind : kinds) {
    SCOPED_TRACE(name_of(kind));
    const StepWork work{.kind = kind, .repeat = 2};
    Config config;
    config.offload_optimizer.device = OffloadDevice::nvme;
    config.offload_optimizer.nvme_path = {folder.path()};
    config.offload_optimizer.buffer_size = 256 * 1024;
    config.offload_optimizer.pipeline_read = config.offload_optimizer.pipeline_write = true;
    OffloadedRun offloaded(model, config, 3, threads, work);
    InMemoryRun in_memory(model, 3, threads, work);
    offloaded.set_up([](std::int64_t) {});
    for (int step = 1; step <= 2; ++step) {
      offloaded.step(step, [](std::int64_t) {});
      in_memory.step(step);
    }
    EXPECT_FALSE(
        first_difference(model, in_memory.hashes(), offloaded.hashes([](std::int64_t) {})));
  }
}

// What happened when, and nothing before or after it was asked for.
TEST(StepWorkTest, ATimelineSeesTransfersComputeAndWaits) {
  const TempDir folder;
  const Model model = make_model("tiny");
  ComputeThreads threads(1);
  Config config;
  config.offload_optimizer.device = OffloadDevice::nvme;
  config.offload_optimizer.nvme_path = {folder.path()};
  config.offload_optimizer.buffer_size = 256 * 1024;
  OffloadedRun run(model, config, 3, threads);
  run.set_up([](std::int64_t) {});
  const auto timeline = std::make_shared<Timeline>(100'000);
  run.record(timeline);
  run.step(1, [](std::int64_t) {});
  run.record(nullptr);
  run.step(2, [](std::int64_t) {});
  std::int64_t computed = 0, tiles = 0, written = 0;
  for (const Span& span : timeline->take()) {
    EXPECT_LE(span.begin_ns, span.end_ns);
    if (span.activity == Activity::compute) computed += span.bytes, ++tiles;
    if (span.activity == Activity::write) written += span.bytes;
  }
  EXPECT_EQ(computed, 12 * model.parameters());
  EXPECT_EQ(tiles, run.stats().tiles);
  EXPECT_GE(written, 12 * model.parameters());
  EXPECT_LT(written, 24 * model.parameters());
}

}  // namespace
}  // namespace spillway::demo
