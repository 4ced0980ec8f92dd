// Whole engines in miniature whose parameters are offloaded too, as their authors would write them:
// bits equal those of plain memory, and bytes are exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "swap/mixed_precision.h"

namespace spillway {
namespace {

using test::Home;
using test::Twin;

std::int64_t pages(std::int64_t bytes) { return (bytes + 4095) / 4096 * 4096; }

// llm.c with one fp32 copy of the parameters, and that on NVMe. What it works on between fetches is
// poisoned: its own buffer, and all of the pool.
TEST(ParameterSketchesTest, TheOnlyCopyOfTheParametersIsOnTheDisk) {
  constexpr std::int64_t pool = 64 * 64 * 1024;
  const test::Scratch scratch;
  Context context(test::mixed_config({}, scratch.path(), 64));
  OptimizerSwapper moments(context, {.states = {{"m"}, {"v"}}});
  ParameterSwapper weights(context);
  // Each in several tiles, so that only pieces are asked for: no order is learned, and nothing is
  // read ahead along it that the poison would displace.
  const std::vector<std::int64_t> sizes{20'000, 40'960, 24'577, 17'001};
  Twin twin;
  std::vector<ParamId> ids;
  std::int64_t once = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    twin.add(i, sizes[i]);
    moments.add("t" + std::to_string(i), sizes[i], {.tag = i});
    ids.push_back(weights.add("w" + std::to_string(i), sizes[i], DType::f32,
                              {.tag = i, .init = std::as_bytes(std::span(twin.params[i].w))}));
    once += pages(sizes[i] * 4);
  }
  constexpr float poison = std::numeric_limits<float>::quiet_NaN();
  // On a page, so that bytes come straight into it.
  std::vector<float> memory(40'960 + 1024, poison);
  const auto page = (reinterpret_cast<std::uintptr_t>(memory.data()) + 4095) / 4096 * 4096;
  const std::span<float> work = std::span(memory).subspan(
      (page - reinterpret_cast<std::uintptr_t>(memory.data())) / 4, 40'960);
  const ParamId all = weights.add("all of the pool", pool / 4, DType::f32);
  const auto poison_pool = [&] {
    weights.flush();
    const Lease lease = weights.fetch(all, Access::overwrite);
    std::ranges::fill(lease.as<float>(), poison);
  };

  const auto gradient_of = [](std::uint64_t tag, std::int64_t i, std::int64_t n, float w) {
    return test::gradient(tag, i, n) + 0.25f * w;  // as in training, wrong weights spread
  };
  for (std::int64_t n = 1; n <= 4; ++n) {
    poison_pool();
    const ParameterStats before = weights.stats();
    const OptimizerStats moments_before = moments.stats();
    std::vector<std::vector<float>> grads;
    for (std::size_t i = 0; i < sizes.size(); ++i) {  // forward and backward
      weights.read_into(ids[i], work.first(static_cast<std::size_t>(sizes[i]))).wait();
      grads.emplace_back();
      for (std::int64_t k = 0; k < sizes[i]; ++k)
        grads.back().push_back(gradient_of(i, k, n, work[static_cast<std::size_t>(k)]));
      std::ranges::fill(work, poison);
    }
    poison_pool();
    spillway::Run run = moments.begin_step(n);
    while (auto tile = run.next()) {
      for (const Slice& s : run.upcoming()) weights.prefetch(ids[s.tag], {s.offset, s.count});
      for (const Slice& s : tile->slices()) {
        Lease w = weights.fetch(ids[s.tag], Access::update, {s.offset, s.count});
        const auto values = w.as<float>(), m = s.of<float>("m"), v = s.of<float>("v");
        for (std::size_t i = 0; i < values.size(); ++i)
          test::adamw(values[i], m[i], v[i], grads[s.tag][static_cast<std::size_t>(s.offset) + i],
                      n);
        tile->attach(std::move(w));
      }
      tile->commit();
    }
    weights.flush();
    for (Twin::Param& param : twin.params)
      for (std::size_t i = 0; i < param.w.size(); ++i)
        test::adamw(param.w[i], param.m[i], param.v[i],
                    gradient_of(param.tag, static_cast<std::int64_t>(i), n, param.w[i]), n);
    // 24 bytes per parameter and step, and the weights once more for forward and backward.
    EXPECT_EQ(weights.stats().bytes_read_into - before.bytes_read_into, once);
    EXPECT_EQ(weights.stats().bytes_read - before.bytes_read, once);
    EXPECT_EQ(weights.stats().bytes_written - before.bytes_written, once);
    const OptimizerStats after = moments.stats();
    const std::int64_t written = after.bytes_written - moments_before.bytes_written;
    EXPECT_GE(written, 8 * after.elements);
    EXPECT_LE(written, 8 * after.elements + after.tiles * 2 * 4096);
    EXPECT_EQ(after.bytes_read - moments_before.bytes_read, n == 1 ? 0 : written);
  }
  poison_pool();
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Lease got = weights.fetch(ids[i]);
    EXPECT_TRUE(std::ranges::equal(got.as<const float>(), twin.params[i].w)) << "w" << i;
  }
}

// ZeRO-3 with 16-bit parameters and fp32 masters: modules of no, one and many parameters as units
// of both swappers, groups with learning rates that change, modules that are frozen, skipped steps.
struct Zero {
  struct Part {
    ParamId lp, hp;
    std::size_t module;
    std::uint64_t tag;
    std::vector<float> w, m, v;  // the twin's
    bool live = true;
    bool fresh = true;  // its masters were not taken from `lp` yet
  };
  struct Module {
    UnitId lp, hp;
    float lr = 1;
    bool frozen = false;
  };
  ParameterSwapper lp;
  OptimizerSwapper hp;
  std::vector<Module> modules;
  std::vector<Part> parts;

  explicit Zero(Context& context) : lp(context), hp(context, {.states = {{"w"}, {"m"}, {"v"}}}) {}

  std::size_t add_module(std::string name, float lr) {
    modules.push_back({lp.add_unit(name), hp.add_unit(name), lr});
    return modules.size() - 1;
  }
  void add_part(std::size_t module, std::int64_t elements) {
    Twin made;
    made.add(parts.size(), elements);
    const auto bytes = test::stored(DType::bf16, made.params[0].w);
    Part part{{}, {}, module, parts.size(), test::meanings(DType::bf16, bytes), {}, {}};
    part.m.assign(part.w.size(), 0);
    part.v.assign(part.w.size(), 0);
    part.lp = lp.add("lp" + std::to_string(part.tag), elements, DType::bf16,
                     {.unit = modules[module].lp, .tag = part.tag, .init = bytes});
    part.hp = hp.add("hp" + std::to_string(part.tag), elements,
                     {.unit = modules[module].hp, .tag = part.tag, .from = {{"w", &lp, part.lp}}});
    parts.push_back(std::move(part));
  }
  void remove_part(Part& part) {
    hp.remove(part.hp);
    lp.remove(part.lp);
    part.live = false;
  }
  static void update(float& w, float& m, float& v, float g, float lr) {
    m = 0.9f * m + 0.1f * g;
    v = 0.99f * v + 0.01f * g * g;
    w -= lr * m / (std::sqrt(v) + 1e-8f);
  }

  // [bytes] that the 16-bit copies of all active parameters, or of the fresh ones, take.
  std::int64_t active_bytes(bool fresh_only) const {
    std::int64_t bytes = 0;
    for (const Part& part : parts)
      if (part.live && !modules[part.module].frozen && (part.fresh || !fresh_only))
        bytes += pages(std::ssize(part.w) * 2);
    return bytes;
  }

  void step(std::int64_t n) {
    std::vector<UnitId> active;
    for (const Module& module : modules)
      if (!module.frozen) active.push_back(module.hp);
    Run run = hp.begin({.step = n, .units = active});
    while (auto tile = run.next()) {
      for (const Slice& s : tile->slices()) {
        const auto w = s.of<float>("w"), m = s.of<float>("m"), v = s.of<float>("v");
        for (std::size_t i = 0; i < w.size(); ++i)
          update(w[i], m[i], v[i],
                 test::gradient(s.tag, s.offset + static_cast<std::int64_t>(i), n),
                 modules[parts[s.tag].module].lr);
        Lease out = lp.fetch(parts[s.tag].lp, Access::overwrite, {s.offset, s.count});
        const auto to = out.as<bf16>();
        for (std::size_t i = 0; i < to.size(); ++i) to[i].bits = test::cut_to(DType::bf16, w[i]);
        tile->attach(std::move(out));
      }
      tile->commit();
    }
    for (Part& part : parts) {
      if (!part.live || modules[part.module].frozen) continue;
      part.fresh = false;
      for (std::size_t i = 0; i < part.w.size(); ++i)
        update(part.w[i], part.m[i], part.v[i],
               test::gradient(part.tag, static_cast<std::int64_t>(i), n), modules[part.module].lr);
    }
  }

  // Forward: fetch a module, upload it, look for the next ones as autograd does.
  void forward() {
    for (std::size_t k = 0; k < modules.size(); ++k) {
      const Lease all = lp.fetch(modules[k].lp);
      std::size_t seen = 0;
      for (const View& view : all.tensors()) {
        const auto expected = test::stored(DType::bf16, parts[view.tag].w);
        ASSERT_TRUE(std::ranges::equal(view.raw(), expected)) << "lp" << view.tag;
        ASSERT_EQ(parts[view.tag].module, k);
        ++seen;
      }
      ASSERT_EQ(seen, static_cast<std::size_t>(std::ranges::count_if(
                          parts, [&](const Part& part) { return part.live && part.module == k; })));
      for (std::size_t next = k + 1; next < modules.size(); ++next)
        if (!lp.try_fetch(modules[next].lp)) {
          lp.prefetch(modules[next].lp);
          break;
        }
    }
  }
  void expect_equal() {
    for (const Part& part : parts) {
      if (!part.live) continue;
      ASSERT_EQ(test::read(hp, part.hp, "w"), part.w) << "w of part " << part.tag;
      ASSERT_EQ(test::read(hp, part.hp, "m"), part.m) << "m of part " << part.tag;
      ASSERT_EQ(test::read(hp, part.hp, "v"), part.v) << "v of part " << part.tag;
    }
  }
};

class ZeroSketchTest : public ::testing::TestWithParam<Home> {
 protected:
  test::Scratch scratch_;
};

INSTANTIATE_TEST_SUITE_P(Places, ZeroSketchTest,
                         ::testing::Values(Home{.device = OffloadDevice::none},
                                           Home{.device = OffloadDevice::cpu}, Home{.ratio = 0.5},
                                           Home{.ratio = 1}),
                         test::home_name);

TEST_P(ZeroSketchTest, AStepMovesJustWhatIsActive) {
  Context context(test::mixed_config(GetParam(), scratch_.path(), 32));
  const bool stored = GetParam().device == OffloadDevice::nvme;
  Zero zero(context);
  const std::vector<std::vector<std::int64_t>> modules{
      {}, {30'000}, {9000, 1, 64, 4097, 5, 0, 12'288}, {8192, 700}};
  for (std::size_t k = 0; k < modules.size(); ++k) {
    zero.add_module("module " + std::to_string(k), 0.01f * static_cast<float>(k + 1));
    for (const std::int64_t elements : modules[k]) zero.add_part(k, elements);
  }
  for (std::int64_t n = 1; n <= 8; ++n) {
    for (Zero::Module& module : zero.modules) module.lr *= 0.9f;  // a schedule
    zero.modules[1].frozen = n % 3 == 1;
    zero.modules[2].frozen = n % 4 >= 2;
    for (Zero::Module& module : zero.modules) module.frozen = module.frozen || n == 7;
    zero.lp.flush();
    const ParameterStats lp = zero.lp.stats();
    const OptimizerStats hp = zero.hp.stats();
    if (n == 5) continue;  // overflow: a skipped step is no call at all
    const std::int64_t fresh = zero.active_bytes(true), active = zero.active_bytes(false);
    zero.step(n);
    zero.lp.flush();
    const ParameterStats lp_after = zero.lp.stats();
    // An overwrite reads nothing; what was never stepped is read for its masters, at most once.
    EXPECT_LE(lp_after.bytes_read - lp.bytes_read, fresh);
    if (stored) {
      EXPECT_EQ(lp_after.bytes_written - lp.bytes_written, active);
    }
    if (n == 7) {  // nothing is active
      EXPECT_EQ(lp_after.bytes_written, lp.bytes_written);
      EXPECT_EQ(zero.hp.stats().bytes_read, hp.bytes_read);
      EXPECT_EQ(zero.hp.stats().bytes_written, hp.bytes_written);
    }
  }
  zero.forward();
  zero.expect_equal();
}

// 200 steps in which parameters are added, unfrozen and removed, and rates change; after each, the
// forward pass finds what plain memory has.
TEST_P(ZeroSketchTest, TwoHundredRandomSteps) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto pick = [&](std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(random);
  };
  Config config =
      test::mixed_config(GetParam(), scratch_.path(), 64, 64 * 1024, pick(0, 1) == 0 ? 0 : 10'000);
  config.offload_optimizer.fast_init = pick(0, 1) == 0;
  // Between steps, what the order says comes next is read ahead; then reads are not the step's
  // only.
  const bool forward = pick(0, 1) == 0;
  Context context(config);
  Zero zero(context);
  constexpr std::int64_t odd[] = {0, 1, 63, 300, 4095, 4096, 4097, 9000};
  zero.add_module("first", 0.01f);
  zero.add_part(0, 5000);
  for (std::int64_t n = 1; n <= 200 && !HasFailure(); ++n) {
    SCOPED_TRACE("step " + std::to_string(n));
    if (pick(0, 9) == 0 && zero.modules.size() < 8)
      zero.modules[zero.add_module("module", 0.02f)].frozen = pick(0, 1) == 0;
    if (pick(0, 4) == 0) zero.add_part(pick(0, zero.modules.size() - 1), odd[pick(0, 7)]);
    if (pick(0, 7) == 0) {
      Zero::Part& part = zero.parts[pick(0, zero.parts.size() - 1)];
      if (part.live) zero.remove_part(part);
    }
    Zero::Module& module = zero.modules[pick(0, zero.modules.size() - 1)];
    if (pick(0, 3) == 0) module.frozen = !module.frozen;
    module.lr *= 0.97f;
    if (pick(0, 9) == 0) continue;  // overflow
    const bool idle = std::ranges::all_of(zero.modules, [](const auto& one) { return one.frozen; });
    zero.lp.flush();
    zero.hp.seal();
    const ParameterStats lp = zero.lp.stats();
    const OptimizerStats hp = zero.hp.stats();
    const std::int64_t active = zero.active_bytes(false), fresh = zero.active_bytes(true);
    zero.step(n);
    zero.lp.flush();
    if (GetParam().device == OffloadDevice::nvme && config.offload_param.max_in_cpu == 0) {
      EXPECT_EQ(zero.lp.stats().bytes_written - lp.bytes_written, active);
    }
    if (fresh == 0 && !forward) {
      EXPECT_EQ(zero.lp.stats().bytes_read, lp.bytes_read) << "an overwrite reads nothing";
    }
    if (idle) {
      EXPECT_EQ(zero.hp.stats().bytes_read, hp.bytes_read);
      EXPECT_EQ(zero.hp.stats().bytes_written, hp.bytes_written);
    }
    if (forward && pick(0, 3) == 0) zero.forward();
    if (n % 50 == 0) zero.expect_equal();
  }
  zero.forward();
  zero.expect_equal();
}

}  // namespace
}  // namespace spillway
