#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/twin.h"
#include "swap/contents.h"

#include "spillway/spillway.h"

namespace spillway::test {

/// Where an engine keeps the parameters that a step changes: outside the tile, so that nothing but
/// the promise of commit() stands between them and being updated twice.
class ParameterHome {
 public:
  virtual ~ParameterHome() = default;
  virtual void add(std::size_t p, const std::vector<float>& values) = 0;
  /// The parameters [offset, offset + count) of p for one update; they may be attached to the tile
  /// and become visible with its commit.
  virtual std::span<float> update(Tile& tile, std::size_t p, std::int64_t offset,
                                  std::int64_t count) = 0;
  virtual std::vector<float> read(std::size_t p) = 0;
  /// Everything that is committed is where it belongs, or this throws.
  virtual void flush() {}
  /// Waits until nothing is read ahead any more: what fails of it is nobody's error.
  virtual void settle() {}
  /// Writes that failed and went through at the second attempt.
  virtual std::int64_t write_retries() { return 0; }
};

/// In the engine's own memory, changed on the spot.
class EngineMemory final : public ParameterHome {
 public:
  void add(std::size_t p, const std::vector<float>& values) override {
    if (values_.size() <= p) values_.resize(p + 1);
    values_[p] = values;
  }
  std::span<float> update(Tile&, std::size_t p, std::int64_t offset, std::int64_t count) override {
    return std::span(values_[p])
        .subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(count));
  }
  std::vector<float> read(std::size_t p) override { return values_[p]; }

 private:
  std::vector<std::vector<float>> values_;
};

/// In a parameter swapper: leased for the update, attached to the tile, visible with its commit.
class SwappedParameters final : public ParameterHome {
 public:
  explicit SwappedParameters(Context& context) : swapper_(context) {}

  void add(std::size_t p, const std::vector<float>& values) override {
    const auto bytes = std::as_bytes(std::span(values));
    ids_.push_back(swapper_.add("p" + std::to_string(p), static_cast<std::int64_t>(values.size()),
                                DType::f32, {.init = bytes}));
  }
  std::span<float> update(Tile& tile, std::size_t p, std::int64_t offset,
                          std::int64_t count) override {
    Lease lease = swapper_.fetch(ids_[p], Access::update, {offset, count});
    const std::span<float> values = lease.as<float>();
    tile.attach(std::move(lease));  // the bytes stay where they are
    return values;
  }
  std::vector<float> read(std::size_t p) override {
    const Lease lease = swapper_.fetch(ids_[p]);
    const auto values = lease.as<const float>();
    return {values.begin(), values.end()};
  }
  void flush() override { swapper_.flush(); }
  void settle() override {
    const auto coming = [this](ParamId id) { return swapper_.where(id) == Residence::coming; };
    while (std::ranges::any_of(ids_, coming)) std::this_thread::yield();
  }
  std::int64_t write_retries() override { return swapper_.stats().write_retries; }
  ParameterSwapper& swapper() { return swapper_; }
  const std::vector<ParamId>& ids() const { return ids_; }

 private:
  ParameterSwapper swapper_;
  std::vector<ParamId> ids_;
};

/// A training engine with its moments in the swapper and its parameters in a ParameterHome, beside
/// a twin in plain memory. Counts how often each slice is updated in each step.
class EngineLoop {
  struct Key {
    std::uint64_t tag;
    std::int64_t offset, step;
    auto operator<=>(const Key&) const = default;
  };

 public:
  EngineLoop(Context& context, const std::vector<std::int64_t>& sizes,
             std::unique_ptr<ParameterHome> home = std::make_unique<EngineMemory>())
      : swapper(context, {.states = {{"m"}, {"v"}}}), home_(std::move(home)) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      twin.add(i + 1, sizes[i]);
      home_->add(i, twin.params[i].w);
      ids.push_back(swapper.add("p" + std::to_string(i), sizes[i], {.tag = i + 1}));
    }
  }

  /// One step, or the rest of one that was left early, until all of it is on the disk.
  void step(std::int64_t n) {
    Run run = swapper.begin_step(n);
    while (auto tile = run.next()) {
      update(*tile, n);
      commit(*tile);
    }
    home_->flush();
  }
  /// Commits `tiles` tiles of a step, gives another one back untouched, and leaves.
  void leave_early(std::int64_t n, int tiles) {
    Run run = swapper.begin_step(n);
    while (auto tile = run.next()) {
      if (tiles-- == 0) return;
      update(*tile, n);
      commit(*tile);
    }
  }
  /// Everything is as the undisturbed twin has it, and no slice was updated twice in a step.
  void expect_equal(const std::string& when) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(home_->read(i), twin.params[i].w) << when << ": w of p" << i;
      EXPECT_EQ(read(swapper, ids[i], "m"), twin.params[i].m) << when << ": m of p" << i;
      EXPECT_EQ(read(swapper, ids[i], "v"), twin.params[i].v) << when << ": v of p" << i;
    }
    for (const auto& [slice, times] : updates_)
      EXPECT_EQ(times, 1) << when << ": p" << slice.tag - 1 << " from " << slice.offset
                          << " in step " << slice.step;
  }
  /// Every slice's moments are those before step `n` or those after it, m and v alike, and new
  /// exactly where the parameters are: `before` is the twin as it was.
  void expect_old_or_new(const Twin& before, const std::string& when) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto m = read(swapper, ids[i], "m"), v = read(swapper, ids[i], "v");
      const auto w = home_->read(i);
      const Twin::Param &was = before.params[i], &is = twin.params[i];
      for (std::size_t at = 0; at < m.size(); at += 4096) {
        const std::size_t count = std::min(m.size() - at, std::size_t{4096});
        const auto same = [&](const std::vector<float>& got, const std::vector<float>& as) {
          return std::equal(got.data() + at, got.data() + at + count, as.data() + at);
        };
        const auto all = [&](const Twin::Param& as) {
          return same(m, as.m) && same(v, as.v) && same(w, as.w);
        };
        EXPECT_TRUE(all(was) || all(is)) << when << ": p" << i << " from " << at;
      }
    }
  }

  ParameterHome& home() { return *home_; }

  OptimizerSwapper swapper;
  Twin twin;
  std::vector<ParamId> ids;

 private:
  // First all that may throw, then the arithmetic: a resident tile is not left half changed.
  void update(Tile& tile, std::int64_t n) {
    touched_.clear();
    std::vector<std::span<float>> all;
    for (const Slice& slice : tile.slices())
      all.push_back(home_->update(tile, slice.tag - 1, slice.offset, slice.count));
    std::size_t at = 0;
    for (const Slice& slice : tile.slices()) {
      const auto m = slice.of<float>("m"), v = slice.of<float>("v");
      const std::span<float> w = all[at++];
      for (std::size_t i = 0; i < w.size(); ++i)
        adamw(w[i], m[i], v[i], gradient(slice.tag, slice.offset + static_cast<std::int64_t>(i), n),
              n);
      touched_.push_back({slice.tag, slice.offset, n});
    }
  }
  void commit(Tile& tile) {
    tile.commit();
    for (const Key& slice : touched_) ++updates_[slice];
  }

  std::unique_ptr<ParameterHome> home_;
  std::vector<Key> touched_;  // of the tile at hand
  std::map<Key, int> updates_;
};

}  // namespace spillway::test
