#include "in_memory_run.h"

#include <gtest/gtest.h>

namespace spillway::demo {
namespace {

Hashes after(const Model& model, int steps, std::uint64_t seed, int threads) {
  ComputeThreads crew(threads);
  InMemoryRun run(model, seed, crew);
  for (int step = 1; step <= steps; ++step) EXPECT_GE(run.step(step), 0.0);
  return run.hashes();
}

TEST(InMemoryRunTest, ThreadsDoNotChangeTheResult) {
  const Model model = make_model("tiny");
  const Hashes one = after(model, 3, 5, 1);
  EXPECT_EQ(one.size(), model.tensors.size());
  EXPECT_EQ(after(model, 3, 5, 3), one);
}

TEST(InMemoryRunTest, StepsAndSeedsChangeEveryStateOfEveryTensor) {
  const Model model = make_model("tiny");
  const Hashes base = after(model, 2, 5, 2);
  for (const Hashes& other : {after(model, 3, 5, 2), after(model, 2, 6, 2)})
    for (std::size_t t = 0; t < model.tensors.size(); ++t)
      for (std::size_t s = 0; s < state_names.size(); ++s) {
        if (model.tensors[t].elements == 0) continue;
        EXPECT_NE(other[t][s], base[t][s]) << model.tensors[t].name << " " << state_names[s];
      }
}

// A hand-made run over one tensor, hashed at once.
TEST(InMemoryRunTest, ItIsThePlainLoop) {
  Model model{.name = "one", .layers = 1, .whole_layers = 1, .tensors = {{"t", 40001}}};
  std::vector<float> master(40001), exp_avg(40001), exp_avg_sq(40001);
  fill_masters(baseline::kernel, master.data(), 0, 40001, stream_key(9, 0, 0));
  for (int step = 1; step <= 2; ++step)
    adamw_update(baseline::kernel, master.data(), exp_avg.data(), exp_avg_sq.data(), 0, 40001,
                 stream_key(9, 0, step), AdamW{}.at(step));
  StateHasher hasher(1);
  hasher.add(0, 0, std::as_bytes(std::span<const float>(master)));
  hasher.add(0, 1, std::as_bytes(std::span<const float>(exp_avg)));
  hasher.add(0, 2, std::as_bytes(std::span<const float>(exp_avg_sq)));
  EXPECT_EQ(after(model, 2, 9, 2), hasher.digest());
}

TEST(StateHasherTest, PiecesMakeTheWhole) {
  const std::vector<float> values(10007, 1.5F);
  const std::span<const std::byte> bytes = std::as_bytes(std::span<const float>(values));
  StateHasher whole(2), pieces(2);
  whole.add(1, 2, bytes);
  for (std::size_t at = 0; at < bytes.size(); at += 999)
    pieces.add(1, 2, bytes.subspan(at, std::min<std::size_t>(999, bytes.size() - at)));
  EXPECT_EQ(whole.digest(), pieces.digest());
  EXPECT_EQ(whole.digest()[1][2].size(), 32U);
  EXPECT_NE(whole.digest()[1][2], whole.digest()[1][1]);
}

TEST(StateHasherTest, TheFirstDifferenceIsNamed) {
  const Model model = make_model("tiny");
  const Hashes a = after(model, 1, 1, 1);
  EXPECT_FALSE(first_difference(model, a, a));
  Hashes b = a;
  b[5][2][0] = 'x';
  b[4][1][31] = 'x';
  const auto difference = first_difference(model, a, b);
  ASSERT_TRUE(difference);
  EXPECT_EQ(difference->tensor, model.tensors[4].name);
  EXPECT_EQ(difference->state, "exp_avg");
}

}  // namespace
}  // namespace spillway::demo
