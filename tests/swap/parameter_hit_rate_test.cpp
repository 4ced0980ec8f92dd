// What the parameter swapper hits, counted in bytes that it really read, beside the policies that
// know the whole trace. The shapes are a Llama's at a thousandth of its size.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "support/swap_fixture.h"
#include "support/traces.h"

#include "spillway/spillway.h"

namespace spillway {
namespace {

constexpr int passes = 6;

test::Model small_model(int experts = 0, std::int64_t layers = 16) {
  return test::llama({"small", 128, 344, layers, 2000, 4, 2, experts});
}

// One unit per layer, and one per expert.
struct Units {
  std::vector<std::vector<std::uint32_t>> tensors;
  std::vector<std::uint32_t> layers;                // unit of each layer
  std::vector<std::vector<std::uint32_t>> experts;  // units of each layer's experts
};

Units units_of(const test::Model& model) {
  Units units;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    units.layers.push_back(static_cast<std::uint32_t>(units.tensors.size()));
    units.tensors.push_back(model.layers[i]);
    auto& experts = units.experts.emplace_back();
    for (const auto& expert : model.experts[i]) {
      experts.push_back(static_cast<std::uint32_t>(units.tensors.size()));
      units.tensors.push_back(expert);
    }
  }
  return units;
}

enum class Step { none, overwrite };

class Training {
 public:
  /// `settled`: whatever was begun ends before the next call, so that two passes differ only in
  /// what the policies made of them, not in what a disk was quick enough for.
  Training(const test::Model& model, double cap, std::int64_t pool_bytes, bool settled = false)
      : model_(model), settled_(settled), units_(units_of(model)) {
    Config config;
    config.offload_param.device = OffloadDevice::nvme;
    config.offload_param.nvme_path = {scratch_.path()};
    config.offload_param.buffer_size = 32 * 1024;
    config.offload_param.buffer_count = pool_bytes / config.offload_param.buffer_size;
    cap_ = static_cast<std::int64_t>(cap * static_cast<double>(model.total()));
    config.offload_param.max_in_cpu = cap_;
    context_.emplace(config);
    weights_.emplace(*context_);
    params_.resize(model.elements.size());
    for (const auto& tensors : units_.tensors) {
      ids_.push_back(weights_->add_unit(fmt::format("unit {}", ids_.size())));
      for (const std::uint32_t t : tensors)
        params_[t] = weights_->add(fmt::format("tensor {}", t), model.elements[t], DType::bf16,
                                   {.unit = ids_.back(), .tag = t});
    }
    for (std::uint32_t t = 0; t < params_.size(); ++t) overwrite(t);
    weights_->flush();
  }

  /// The hit rate of one pass over `units`, and a step over them.
  double pass(std::string_view name, const std::vector<std::uint32_t>& units, Step step) {
    const ParameterStats before = weights_->stats();
    weights_->begin_pass(name);
    settle();
    for (const std::uint32_t unit : units) {
      {
        const Lease lease = weights_->fetch(ids_[unit]);
        for (const View& view : lease.tensors()) {
          trace_.push_back(static_cast<std::uint32_t>(view.tag));
          const auto expected = static_cast<std::byte>(versions_[view.tag]);
          EXPECT_EQ(view.raw().front(), expected) << "of tensor " << view.tag;
          EXPECT_EQ(view.raw().back(), expected) << "of tensor " << view.tag;
        }
        settle();
      }
      settle();
    }
    if (step != Step::none) {
      std::vector<bool> used(units_.tensors.size(), false);
      for (const std::uint32_t unit : units) used[unit] = true;
      for (std::size_t u = 0; u < used.size(); ++u)
        if (used[u])
          for (const std::uint32_t t : units_.tensors[u]) overwrite(t);
    }
    ends_.push_back(trace_.size());
    const ParameterStats after = weights_->stats();
    EXPECT_LE(after.peak_cached_elements, cap_);
    const std::int64_t read =
        after.bytes_read - before.bytes_read - (after.bytes_read_ahead - before.bytes_read_ahead);
    return 1.0 - static_cast<double>(read) /
                     static_cast<double>(after.bytes_fetched - before.bytes_fetched);
  }

  double reference(std::size_t pass, bool lru = false) const {
    const auto hits = (lru ? lru_hits : belady_hits)(trace_, model_.elements, cap_);
    return hit_rate(hits, trace_, model_.elements, pass == 0 ? 0 : ends_[pass - 1], ends_[pass]);
  }

  const Units& units() const { return units_; }
  ParameterStats stats() const { return weights_->stats(); }

 private:
  // In pieces smaller than most tensors, as an optimizer's tiles are.
  void overwrite(std::uint32_t t) {
    constexpr std::int64_t piece = 4096;
    versions_.resize(params_.size());
    ++versions_[t];
    for (std::int64_t at = 0; at < model_.elements[t]; at += piece) {
      Lease lease = weights_->fetch(params_[t], Access::overwrite,
                                    {at, std::min(piece, model_.elements[t] - at)});
      const std::span<std::byte> bytes = lease.tensors()[0].raw_mutable();
      std::memset(bytes.data(), static_cast<int>(versions_[t]), bytes.size());
      lease.commit();
    }
    if (settled_) weights_->flush();
    settle();
  }

  void settle() {
    if (!settled_) return;
    const auto coming = [this](ParamId id) { return weights_->where(id) == Residence::coming; };
    while (std::ranges::any_of(params_, coming)) std::this_thread::yield();
  }

  test::Scratch scratch_;
  const test::Model& model_;
  const bool settled_;
  Units units_;
  std::int64_t cap_ = 0;
  std::optional<Context> context_;
  std::optional<ParameterSwapper> weights_;
  std::vector<UnitId> ids_;
  std::vector<ParamId> params_;
  std::vector<std::uint32_t> versions_;
  std::vector<std::uint32_t> trace_;
  std::vector<std::size_t> ends_;
};

std::vector<std::uint32_t> scan(const Units& units) {
  std::vector<std::uint32_t> order;
  for (std::uint32_t u = 0; u < units.tensors.size(); ++u) order.push_back(u);
  return order;
}

std::vector<std::uint32_t> and_back(std::vector<std::uint32_t> order) {
  for (std::size_t i = order.size(); i-- > 0;) order.push_back(order[i]);
  return order;
}

// Two units in a row, and a little.
constexpr std::int64_t pool = 1280 * 1024;

class ParameterHitRateTest : public testing::TestWithParam<std::tuple<bool, Step, double>> {};

TEST_P(ParameterHitRateTest, FromTheSecondPassOnItIsThatOfFurthestNextUse) {
  const auto& [back, step, cap] = GetParam();
  const test::Model model = small_model();
  Training training(model, cap, pool, true);
  const auto order = back ? and_back(scan(training.units())) : scan(training.units());
  for (std::size_t i = 0; i < passes; ++i) {
    const double rate = training.pass("train", order, step);
    if (i == 0) continue;
    fmt::print("pass {}: {:.4f}, furthest next use {:.4f}, LRU {:.4f}\n", i + 1, rate,
               training.reference(i), training.reference(i, true));
    EXPECT_GE(rate, 0.98 * training.reference(i)) << "pass " << i + 1;
  }
}

// The same with fetches as fast as they come, over all passes from the second on: in a single one a
// fetch may come in the way of reading ahead, so that one tensor is read twice (one pass in 200 was
// below 0.98, none below 0.95), or find a tensor in the pool that no cache would hold.
TEST_P(ParameterHitRateTest, WithoutWaitingItIsSoOverAllPasses) {
  const auto& [back, step, cap] = GetParam();
  const test::Model model = small_model();
  Training training(model, cap, pool);
  const auto order = back ? and_back(scan(training.units())) : scan(training.units());
  double hits = 0, belady = 0;
  for (std::size_t i = 0; i < 15; ++i) {
    const double rate = training.pass("train", order, step);
    if (i == 0) continue;
    hits += rate;
    belady += training.reference(i);
  }
  EXPECT_GE(hits, 0.98 * belady);
}

INSTANTIATE_TEST_SUITE_P(
    Traces, ParameterHitRateTest,
    testing::Combine(testing::Bool(), testing::Values(Step::none, Step::overwrite),
                     testing::Values(0.0, 0.25, 0.5, 1.0)),
    [](const auto& param) {
      return fmt::format("{}{}Cap{:.0f}", std::get<0>(param.param) ? "ForwardBackward" : "Cyclic",
                         std::get<1>(param.param) == Step::none ? "" : "WithStep",
                         100 * std::get<2>(param.param));
    });

// The first training pass after evaluation beside the one before. What the pool happens to hold
// still when it is fetched again comes on top of what the cache gives, and differs from pass to
// pass by a tensor or two, in either direction. So with 32 layers all rounds are compared together;
// with 16, of which the pool is a fifth, each pass only with what furthest next use gives without a
// pool. In a model as deep as the largest Llama, of which the pool is 4 %, as the default one is of
// a model of 7 billion, each pass is compared. (Its shapes are twice as wide, for a norm takes a
// page, and should not count.) SPILLWAY_SOAK=1 makes enough rounds of each to know the median of
// their quotients.
class EvaluationTest : public testing::TestWithParam<std::tuple<std::int64_t, double>> {};

TEST_P(EvaluationTest, BetweenTrainingPassesDoesNotHurt) {
  const bool soak = std::getenv("SPILLWAY_SOAK") != nullptr;
  const auto& [layers, cap] = GetParam();
  const bool deep = layers >= 80;
  // With 32 layers the sum over three rounds has been seen as low as 0.985, on a busy machine.
  const int rounds = soak ? (layers >= 32 ? 21 : 401) : (layers == 32 ? 7 : 3);
  const test::Model model =
      deep ? test::llama({"wider", 256, 688, layers, 2000, 8, 4}) : small_model(0, layers);
  Training training(model, cap, deep ? 4 * pool : pool, true);
  const auto forward = scan(training.units());
  const auto train = and_back(forward);
  std::vector<std::string> names;
  const auto run = [&](std::string_view name, const std::vector<std::uint32_t>& units, Step step) {
    const double rate = training.pass(name, units, step);
    // Nothing is known in the first one of each name.
    if (std::ranges::count(names, name) > 0) {
      EXPECT_GE(rate, 0.98 * training.reference(names.size())) << "pass " << names.size();
    }
    names.emplace_back(name);
    return rate;
  };
  double before = 0, after = 0;
  std::vector<double> quotients;
  for (int round = 0; round < rounds; ++round) {  // evaluation is new in the first, learned later
    double last = 0;
    for (int i = 0; i < 3; ++i) last = run("train", train, Step::overwrite);
    for (int i = 0; i < 5; ++i) run("eval", forward, Step::none);
    const double first = run("train", train, Step::overwrite);
    before += last;
    after += first;
    quotients.push_back(first / last);
  }
  std::ranges::sort(quotients);
  fmt::print("{} layers, cap {}: after / before {:.3f} to {:.3f}, of the sums {:.3f}\n", layers,
             cap, quotients.front(), quotients.back(), after / before);
  if (deep) {
    EXPECT_GE(quotients.front(), 0.98);
  }
  if (layers >= 32) {
    EXPECT_GE(after, 0.98 * before);
  }
  if (soak) {
    // The median lies between these two of the sorted values, with 95 % confidence.
    const auto n = static_cast<double>(rounds);
    const auto low = static_cast<std::size_t>((n - 1.96 * std::sqrt(n)) / 2) - 1;
    const std::size_t high = quotients.size() - 1 - low;
    fmt::print("median {:.3f} [{:.3f}, {:.3f}]\n", quotients[quotients.size() / 2], quotients[low],
               quotients[high]);
    EXPECT_GE(quotients[low], 0.98);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EvaluationTest,
                         testing::Combine(testing::Values(16, 32, 80), testing::Values(0.25, 0.5)),
                         [](const auto& param) {
                           return fmt::format("Layers{}Cap{:.0f}", std::get<0>(param.param),
                                              100 * std::get<1>(param.param));
                         });

// With few layers, too: such a pass is too short to break an order, and its experts are a large
// part of the cache.
class ExpertsTest : public testing::TestWithParam<std::int64_t> {};

INSTANTIATE_TEST_SUITE_P(Layers, ExpertsTest, testing::Values(1, 2, 4, 16),
                         testing::PrintToStringParamName());

TEST_P(ExpertsTest, ARandomSubsetIsServedAsByLru) {
  const test::Model model = small_model(8, GetParam());
  for (const double cap : {0.25, 0.5}) {
    std::mt19937 random(17);
    Training training(model, cap, pool, true);
    double hit = 0, lru = 0;
    for (std::size_t i = 0; i < 10; ++i) {
      std::vector<std::uint32_t> order;
      for (std::size_t layer = 0; layer < model.layers.size(); ++layer) {
        order.push_back(training.units().layers[layer]);
        auto experts = training.units().experts[layer];
        std::ranges::shuffle(experts, random);
        for (std::size_t e = 0; e < std::min<std::size_t>(2, experts.size()); ++e)
          order.push_back(experts[e]);
      }
      const double rate = training.pass("train", and_back(order), Step::overwrite);
      if (i == 0) continue;
      hit += rate;
      lru += training.reference(i, true);
    }
    fmt::print("cap {}: {:.4f}, LRU {:.4f}\n", cap, hit / 9, lru / 9);
    EXPECT_GE(hit, 0.95 * lru) << "cap " << cap;
  }
}

}  // namespace
}  // namespace spillway
