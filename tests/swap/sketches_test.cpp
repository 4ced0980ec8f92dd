// Whole engines in miniature, as their authors would write them: each ends bit-equal to the same
// optimizer in plain memory, and moves exactly the bytes it should.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "support/swap_fixture.h"
#include "support/twin.h"

namespace spillway {
namespace {

using test::Twin;

// A trainer with parameters and gradients of its own, whose moments alone are offloaded: 16 bytes
// per parameter and step.
TEST(SketchesTest, TrainerWithItsOwnParametersOffloadsItsMoments) {
  const test::Scratch scratch;
  Config config = test::small_config(OffloadDevice::nvme, scratch.path());
  config.offload_optimizer.buffer_size = 64 * 1024;
  Context context(config);
  OptimizerSwapper moments(context, {.states = {{"m"}, {"v"}}});

  const std::vector<std::int64_t> sizes{8192, 768, 40960, 768, 24576, 3};
  std::vector<float> params;
  Twin twin;
  std::int64_t at = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    // The twin's gradients run over the flat array, as the trainer's do.
    moments.add("t" + std::to_string(i), sizes[i], {.tag = static_cast<std::uint64_t>(at)});
    at += sizes[i];
  }
  twin.add(1, at);
  params = twin.params[0].w;

  OptimizerStats before{};
  constexpr std::int64_t steps = 4;
  for (std::int64_t n = 1; n <= steps; ++n) {
    if (n == steps) before = moments.stats();
    twin.step(n);
    auto run = moments.begin_step(n);
    while (auto tile = run.next()) {
      for (const Slice& s : tile->slices()) {
        const auto first = static_cast<std::int64_t>(s.tag) + s.offset;
        const auto m = s.of<float>("m"), v = s.of<float>("v");
        for (std::int64_t i = 0; i < s.count; ++i)
          test::adamw(params[static_cast<std::size_t>(first + i)], m[static_cast<std::size_t>(i)],
                      v[static_cast<std::size_t>(i)], test::gradient(1, first + i, n), n);
      }
      tile->commit();
    }
  }
  EXPECT_EQ(params, twin.params[0].w);
  const OptimizerStats after = moments.stats();
  // The sections end on pages of 4096 bytes; beyond that, 8 bytes in and 8 out for each parameter.
  const std::int64_t slack = after.tiles * 2 * 4096;
  EXPECT_GE(after.bytes_read - before.bytes_read, at * 8);
  EXPECT_LE(after.bytes_read - before.bytes_read, at * 8 + slack);
  EXPECT_GE(after.bytes_written - before.bytes_written, at * 8);
  EXPECT_LE(after.bytes_written - before.bytes_written, at * 8 + slack);
}

struct Publish final : Attachment {
  Publish(std::vector<std::uint16_t>& to, std::int64_t offset, std::vector<std::uint16_t> from)
      : target(to), at(offset), bytes(std::move(from)) {}
  void publish() noexcept override {
    std::copy(bytes.begin(), bytes.end(), target.begin() + static_cast<std::ptrdiff_t>(at));
  }
  std::vector<std::uint16_t>& target;
  std::int64_t at;
  std::vector<std::uint16_t> bytes;
};

std::uint16_t truncated(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, 4);
  return static_cast<std::uint16_t>(bits >> 16);
}

// A ZeRO-like step: sub-groups as units, overflow decided before the step (a skipped step moves no
// byte), frozen groups left out, 16-bit copies published with the commit of their tile.
TEST(SketchesTest, ZeroStepWithASkippedStepAndFrozenGroups) {
  const test::Scratch scratch;
  Context context(test::small_config(OffloadDevice::nvme, scratch.path()));
  OptimizerSwapper hp(context, {.states = {{"w"}, {"m"}, {"v"}}});
  struct Partition {
    ParamId id;
    UnitId unit;
    std::vector<std::uint16_t> lp;
  };
  std::vector<Partition> parts;
  Twin twin;
  for (std::uint64_t g = 0; g < 3; ++g) {
    const UnitId unit = hp.add_unit("sub-group " + std::to_string(g));
    for (std::uint64_t p = 0; p < 4; ++p) {
      const auto elements = static_cast<std::int64_t>(5000 * (p + 1) + g);
      twin.add(parts.size(), elements);
      parts.push_back({hp.add("part", elements, {.unit = unit, .tag = parts.size()}), unit,
                       std::vector<std::uint16_t>(static_cast<std::size_t>(elements))});
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i)
    hp.write_state<float>(parts[i].id, "w", 0, twin.params[i].w);

  for (std::int64_t n = 1; n <= 6; ++n) {
    const bool overflow = n == 3;
    const std::vector<UnitId> active =
        n % 2 == 0 ? std::vector<UnitId>{parts[0].unit, parts[8].unit}
                   : std::vector<UnitId>{parts[0].unit, parts[4].unit, parts[8].unit};
    const OptimizerStats before = hp.stats();
    if (!overflow) {
      auto run = hp.begin({.step = n, .units = active});
      while (auto tile = run.next()) {
        for (const Slice& s : tile->slices()) {
          test::update(s, n);
          std::vector<std::uint16_t> out;
          for (float w : s.of<const float>("w")) out.push_back(truncated(w));
          tile->attach(std::make_unique<Publish>(parts[s.tag].lp, s.offset, std::move(out)));
        }
        tile->commit();
      }
    }
    for (std::size_t i = 0; i < parts.size(); ++i)
      if (!overflow && std::find(active.begin(), active.end(), parts[i].unit) != active.end())
        Twin::step(twin.params[i], n);
    const OptimizerStats after = hp.stats();
    if (overflow) {
      EXPECT_EQ(after.bytes_read, before.bytes_read);
      EXPECT_EQ(after.bytes_written, before.bytes_written);
    }
    if (active.size() == 2) {  // the frozen group is a third of the bytes
      EXPECT_LT(after.bytes_written - before.bytes_written, after.elements * 12 * 3 / 4);
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::vector<float> w(twin.params[i].w.size());
    hp.read_state<float>(parts[i].id, "w", 0, w);
    ASSERT_EQ(w, twin.params[i].w) << "part " << i;
    for (std::size_t k = 0; k < w.size(); ++k) ASSERT_EQ(parts[i].lp[k], truncated(w[k]));
  }
}

// Saves in registration order from one partitioning and loads into another one.
TEST(SketchesTest, SavePassLoadsIntoAnotherPartitioning) {
  const test::Scratch scratch;
  using Checkpoint = std::map<std::string, std::vector<float>>;
  Checkpoint saved;
  Twin twin;
  constexpr std::int64_t total = 120001;
  twin.add(1, total);
  const auto cut = [&](int ranks) {
    std::vector<std::int64_t> starts;
    for (int r = 0; r <= ranks; ++r) starts.push_back(total * r / ranks);
    return starts;
  };
  const std::vector<std::string> states{"w", "m", "v"};
  {
    Context context(test::small_config(OffloadDevice::nvme, scratch.path()));
    OptimizerSwapper swapper(context, {.states = {{"w"}, {"m"}, {"v"}}});
    const auto starts = cut(5);
    for (std::size_t r = 0; r + 1 < starts.size(); ++r) {
      const ParamId id = swapper.add("shard", starts[r + 1] - starts[r],
                                     {.tag = static_cast<std::uint64_t>(starts[r])});
      swapper.write_state<float>(id, "w", 0,
                                 std::span<const float>(twin.params[0].w)
                                     .subspan(static_cast<std::size_t>(starts[r]),
                                              static_cast<std::size_t>(starts[r + 1] - starts[r])));
    }
    for (std::int64_t n = 1; n <= 2; ++n) {
      twin.step(n);
      swapper.step(n, [&](const Slice& s) {
        const auto w = s.of<float>("w"), m = s.of<float>("m"), v = s.of<float>("v");
        for (std::size_t i = 0; i < w.size(); ++i)
          test::adamw(w[i], m[i], v[i],
                      test::gradient(1, static_cast<std::int64_t>(s.tag + i) + s.offset, n), n);
      });
    }
    const OptimizerStats before = swapper.stats();
    std::int64_t next = 0;
    auto run = swapper.begin({.read = {"w", "m", "v"}, .order = Order::registration});
    while (auto tile = run.next()) {
      for (const Slice& s : tile->slices()) {
        EXPECT_EQ(static_cast<std::int64_t>(s.tag) + s.offset, next) << "not in order";
        next += s.count;
        for (const std::string& state : states) {
          const auto values = s.of<const float>(state);
          saved[state].insert(saved[state].end(), values.begin(), values.end());
        }
        EXPECT_THROW(s.of<float>("w"), Error) << "a saving pass may not change anything";
      }
      tile->commit();
    }
    EXPECT_EQ(next, total);
    EXPECT_EQ(swapper.stats().bytes_written, before.bytes_written);
  }
  EXPECT_EQ(saved["w"], twin.params[0].w);

  Context context(test::small_config(OffloadDevice::nvme, scratch.path()));
  OptimizerSwapper swapper(context, {.states = {{"w"}, {"m"}, {"v"}}});
  const auto starts = cut(3);
  std::vector<ParamId> ids;
  for (std::size_t r = 0; r + 1 < starts.size(); ++r)
    ids.push_back(swapper.add("shard", starts[r + 1] - starts[r],
                              {.tag = static_cast<std::uint64_t>(starts[r])}));
  {
    auto run = swapper.begin({.write = {"w", "m", "v"}});
    while (auto tile = run.next()) {
      for (const Slice& s : tile->slices())
        for (const std::string& state : states) {
          const auto to = s.of<float>(state);
          std::copy_n(saved[state].begin() + static_cast<std::ptrdiff_t>(s.tag) + s.offset,
                      to.size(), to.begin());
        }
      tile->commit();
    }
  }
  EXPECT_EQ(swapper.stats().bytes_read, 0) << "a load reads nothing";
  twin.step(3);
  swapper.step(3, [&](const Slice& s) {
    const auto w = s.of<float>("w"), m = s.of<float>("m"), v = s.of<float>("v");
    for (std::size_t i = 0; i < w.size(); ++i)
      test::adamw(w[i], m[i], v[i],
                  test::gradient(1, static_cast<std::int64_t>(s.tag + i) + s.offset, 3), 3);
  });
  for (std::size_t r = 0; r < ids.size(); ++r) {
    std::vector<float> got(static_cast<std::size_t>(swapper.elements(ids[r])));
    swapper.read_state<float>(ids[r], "v", 0, got);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), twin.params[0].v.begin() + starts[r]));
  }
}

}  // namespace
}  // namespace spillway
