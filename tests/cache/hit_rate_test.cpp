// What the policy must reach, on the shapes of real models. A simulation: nothing is timed, and
// every figure is the same in every run.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "cache/simulation.h"
#include "support/traces.h"

#include "spillway/cache_reference.h"

namespace spillway::cache {
namespace {

using test::Model;

constexpr int passes = 5;

std::vector<Model> models() {
  auto all = test::dense_models();
  all.push_back(test::mixtral());
  return all;
}

std::int64_t share(const Model& model, double of) {
  return static_cast<std::int64_t>(of * static_cast<double>(model.total()));
}

std::vector<TensorId> repeated(const std::vector<TensorId>& pass, int times) {
  std::vector<TensorId> trace;
  for (int i = 0; i < times; ++i) trace.insert(trace.end(), pass.begin(), pass.end());
  return trace;
}

struct Trace {
  const char* name;
  test::Pass (*pass)(const Model&);
};
constexpr Trace traces[] = {{"forward-backward", test::forward_backward},
                            {"forward-backward by layer", test::forward_backward_by_layer},
                            {"cyclic", test::forward}};

class HitRateTest : public testing::TestWithParam<Trace> {};

TEST_P(HitRateTest, FromTheSecondPassOnItIsThatOfFurthestNextUse) {
  for (const Model& model : models()) {
    const auto pass = GetParam().pass(model);
    const auto trace = repeated(pass, passes);
    for (const double cap : {0.0, 0.25, 0.5, 1.0}) {
      const auto reference = belady_hits(trace, model.elements, share(model, cap));
      const auto lru = lru_hits(trace, model.elements, share(model, cap));
      const auto bound = fractional_hits(trace, model.elements, share(model, cap));
      const double expected = hit_rate(reference, trace, model.elements, pass.size(), trace.size());
      Simulation simulation(model.elements, share(model, cap));
      simulation.pass("train", pass);
      double sum = 0;
      for (int i = 1; i < passes; ++i) sum += simulation.pass("train", pass);
      const double rate = sum / (passes - 1);
      EXPECT_GE(rate, 0.98 * expected) << model.name << " at " << cap;
      fmt::print(
          "{:26} {:12} cap {:.2f}: hit rate {:.4f}, LRU {:.4f}, furthest next use {:.4f}, "
          "bound {:.4f}\n",
          GetParam().name, model.name, cap, rate,
          hit_rate(lru, trace, model.elements, pass.size(), trace.size()), expected,
          hit_rate(bound, trace, model.elements, pass.size(), trace.size()));
      if (cap == 1.0) {
        EXPECT_EQ(rate, 1.0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Traces, HitRateTest, testing::ValuesIn(traces), [](const auto& param) {
  std::string name = param.param.name;
  std::erase_if(name, [](char c) { return c == ' ' || c == '-'; });
  return name;
});

// Each pass by itself, where a pass is predicted in full: forward and backward, and a scan.
TEST(HitRatePassTest, TheSecondPassAloneIsAsGood) {
  for (const auto& shape : {test::forward_backward, test::forward})
    for (const Model& model : models())
      for (const double cap : {0.25, 0.5}) {
        const auto pass = shape(model);
        const auto trace = repeated(pass, passes);
        const auto reference = belady_hits(trace, model.elements, share(model, cap));
        Simulation simulation(model.elements, share(model, cap));
        simulation.pass("train", pass);
        for (std::size_t i = 1; i < passes; ++i)
          EXPECT_GE(simulation.pass("train", pass),
                    0.98 * hit_rate(reference, trace, model.elements, i * pass.size(),
                                    (i + 1) * pass.size()))
              << model.name << " at " << cap << ", pass " << i;
      }
}

TEST(HitRatePassTest, EvaluationBetweenTrainingPassesDoesNotHurt) {
  for (const Model& model : models()) {
    for (const double cap : {0.25, 0.5}) {
      Simulation simulation(model.elements, share(model, cap));
      const auto train = test::forward_backward(model);
      const auto evaluate = test::forward(model);
      double before = 0;
      for (int round = 0; round < 3; ++round) {  // evaluation is new in the first, learned later
        for (int i = 0; i < 4; ++i) before = simulation.pass("train", train);
        for (int i = 0; i < 5; ++i) simulation.pass("eval", evaluate);
        const double after = simulation.pass("train", train);
        EXPECT_GE(after, 0.98 * before) << model.name << " at " << cap << ", round " << round;
      }
    }
  }
}

TEST(HitRatePassTest, ARandomSubsetOfExpertsIsServedAsByLru) {
  const Model model = test::mixtral();
  for (const double cap : {0.1, 0.25, 0.5, 0.75}) {
    for (const int active : {1, 2, 4}) {
      std::mt19937 random(17);
      Simulation simulation(model.elements, share(model, cap));
      std::vector<TensorId> trace;
      double hit = 0, all = 0;
      for (int i = 0; i < 12; ++i) {
        const auto pass = test::mixture_pass(model, active, random);
        double elements = 0;
        for (const TensorId id : pass) elements += static_cast<double>(model.elements[id]);
        hit += simulation.pass("train", pass) * elements;
        all += elements;
        trace.insert(trace.end(), pass.begin(), pass.end());
      }
      const auto hits = lru_hits(trace, model.elements, share(model, cap));
      const double lru = hit_rate(hits, trace, model.elements, 0, trace.size());
      EXPECT_GE(hit / all, 0.95 * lru) << active << " experts, cap " << cap;
      fmt::print(
          "{} of 8 experts             mixtral-8x7b cap {:.2f}: hit rate {:.4f}, LRU {:.4f}\n",
          active, cap, hit / all, lru);
    }
  }
}

TEST(HitRatePassTest, SmallDeviationsCostLittle) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const Model model = test::dense_models()[4];
  const auto pass = test::forward_backward(model);
  Simulation steady(model.elements, share(model, 0.5)), shaken(model.elements, share(model, 0.5));
  double exact = 0, deviating = 0;
  for (int i = 0; i < 8; ++i) {
    auto other = pass;
    for (int change = 0; change < 6; ++change) {  // of 582 accesses
      const std::size_t at = random() % (other.size() - 1);
      const auto place = other.begin() + static_cast<std::ptrdiff_t>(at);
      switch (random() % 3) {
        case 0: other.erase(place); break;
        case 1: std::swap(*place, *(place + 1)); break;
        default: other.insert(place, pass[random() % pass.size()]); break;
      }
    }
    const double a = steady.pass("train", pass), b = shaken.pass("train", other);
    if (i > 0) exact += a, deviating += b;
    if (i > 0) {
      EXPECT_TRUE(shaken.cache().forecast().known());
    }
  }
  EXPECT_GE(deviating, 0.95 * exact);
}

TEST(HitRatePassTest, ANewOrderIsUsedFromItsSecondPassOn) {
  const Model model = test::dense_models()[4];
  const auto scan = test::forward(model);
  const std::vector<TensorId> back(scan.rbegin(), scan.rend());
  Simulation simulation(model.elements, share(model, 0.25));
  for (int i = 0; i < 3; ++i) simulation.pass("train", scan);
  simulation.pass("train", back);
  EXPECT_FALSE(simulation.cache().forecast().known()) << "the old order broke";
  for (int i = 0; i < 3; ++i) EXPECT_GE(simulation.pass("train", back), 0.24);
}

TEST(HitRatePassTest, AnUnnamedLoopIsFound) {
  for (const Model& model : models()) {
    for (const auto& shape : {test::forward_backward, test::forward}) {
      const auto pass = shape(model);
      const auto trace = repeated(pass, 8);
      Simulation simulation(model.elements, share(model, 0.25));
      for (int i = 0; i < 5; ++i) simulation.run(pass);
      const auto reference = belady_hits(trace, model.elements, share(model, 0.25));
      EXPECT_GE(simulation.run(pass),
                0.98 * hit_rate(reference, trace, model.elements, 5 * pass.size(), 6 * pass.size()))
          << model.name;
    }
  }
}

}  // namespace
}  // namespace spillway::cache
