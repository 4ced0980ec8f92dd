// Tiles that the engine drops: old, new or torn afterwards, exactly as promised, and the step can
// be finished without applying anything twice.

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <tuple>

#include "support/captured_log.h"
#include "swap/contents.h"

namespace spillway {
namespace {

using test::error_of;
using test::Home;
using test::Trainer;

// Three tiles of one slice, then one of four.
const std::vector<std::int64_t> sizes{8192, 4096, 1, 600, 0, 63, 2000};
constexpr int slices_in_all = 7;

using Key = std::pair<std::size_t, std::int64_t>;  // parameter, offset

struct EngineFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The state of a twin that has applied step `n` to the slices in `committed` and to no others.
test::Twin with(const test::Twin& old, const test::Twin& fresh, const std::set<Key>& committed) {
  test::Twin mixed = old;
  for (const auto& [param, offset] : committed) {
    const std::size_t end = std::min<std::size_t>(fresh.params[param].w.size(),
                                                  static_cast<std::size_t>(offset) + 4096);
    for (std::size_t i = static_cast<std::size_t>(offset); i < end; ++i) {
      mixed.params[param].w[i] = fresh.params[param].w[i];
      mixed.params[param].m[i] = fresh.params[param].m[i];
      mixed.params[param].v[i] = fresh.params[param].v[i];
    }
  }
  return mixed;
}

// One step that fails in the engine's code at slice `k`, half way through it.
struct Broken {
  std::set<Key> committed, dropped, touched;
};

Broken break_step(Trainer& trainer, std::int64_t n, int k) {
  Broken broken;
  std::set<Key> tile_keys;
  try {
    auto run = trainer.swapper.begin_step(n);
    int at = 0;
    while (auto tile = run.next()) {
      tile_keys.clear();
      for (const Slice& slice : tile->slices())
        tile_keys.emplace(static_cast<std::size_t>(slice.param), slice.offset);
      for (const Slice& slice : tile->slices()) {
        if (at++ == k) {
          const auto w = slice.of<float>("w");
          for (std::size_t i = 0; i <= w.size() / 2; ++i) w[i] = -1e30f;
          broken.touched.emplace(static_cast<std::size_t>(slice.param), slice.offset);
          throw EngineFailed("in the update");
        }
        test::update(slice, n);
        broken.touched.emplace(static_cast<std::size_t>(slice.param), slice.offset);
      }
      tile->commit();
      broken.committed.merge(tile_keys);
    }
    ADD_FAILURE() << "the step has fewer than " << k << " slices";
  } catch (const EngineFailed&) {
    broken.dropped = tile_keys;
  }
  return broken;
}

class DropTest : public ::testing::TestWithParam<Home> {
 protected:
  CapturedLog log_;
  test::Scratch scratch_;
  Context context_{test::config_for(GetParam(), scratch_.path())};
};

// Reads one slice of a state: its values, or nullopt where it is torn.
std::optional<std::vector<float>> slice_of(Trainer& trainer, const Key& key, const char* state) {
  const std::int64_t elements = trainer.swapper.elements(trainer.ids[key.first]);
  std::vector<float> values(
      static_cast<std::size_t>(std::min<std::int64_t>(4096, elements - key.second)));
  try {
    trainer.swapper.read_state<float>(trainer.ids[key.first], state, key.second, values);
  } catch (const StepError& error) {
    EXPECT_EQ(error.code(), Errc::torn);
    EXPECT_EQ(error.params(), std::vector<ParamId>{trainer.ids[key.first]});
    return std::nullopt;
  }
  return values;
}

std::vector<float> part(const std::vector<float>& all, std::int64_t offset) {
  const auto begin = all.begin() + offset;
  return {begin, begin + std::min<std::int64_t>(4096, all.end() - begin)};
}

TEST_P(DropTest, EverySliceIsOldNewOrTornAndTheStepCanBeFinished) {
  for (int k = 0; k < slices_in_all - 1; ++k) {
    for (bool heal_whole : {false, true}) {
      SCOPED_TRACE("the engine fails at slice " + std::to_string(k));
      Trainer trainer(context_, sizes, GetParam().undo);
      trainer.load();
      trainer.step(1);
      trainer.twin.step(1);
      const test::Twin old = trainer.twin;
      trainer.twin.step(2);

      const Broken broken = break_step(trainer, 2, k);
      const test::Twin now = with(old, trainer.twin, broken.committed);
      std::set<ParamId> torn;
      for (std::size_t p = 0; p < sizes.size(); ++p)
        for (std::int64_t offset = 0; offset < sizes[p]; offset += 4096) {
          const Key key{p, offset};
          const auto w = slice_of(trainer, key, "w");
          if (w) {
            EXPECT_EQ(*w, part(now.params[p].w, offset)) << "w of p" << p << " at " << offset;
          } else {
            EXPECT_FALSE(GetParam().keeps_old());
            EXPECT_TRUE(broken.dropped.contains(key) && broken.touched.contains(key));
            torn.insert(trainer.ids[p]);
          }
          const auto m = slice_of(trainer, key, "m");
          if (m) {
            EXPECT_EQ(*m, part(now.params[p].m, offset)) << "m of p" << p << " at " << offset;
          }
        }
      const OptimizerStats stats = trainer.swapper.stats();
      if (stats.resident_tiles == stats.tiles && !GetParam().undo) {
        EXPECT_FALSE(torn.empty()) << "memory is the home: what was half changed is torn";
      }

      // Nothing else may start while the step is half done, and nothing may read what is torn.
      const auto next_step = error_of([&] { trainer.swapper.begin_step(3); });
      const auto save = error_of([&] { trainer.swapper.begin({.read = {"w"}}); });
      if (!broken.committed.empty()) {
        EXPECT_EQ(next_step, Errc::step_incomplete);
        EXPECT_EQ(save, Errc::step_incomplete);
      } else {
        EXPECT_EQ(next_step, torn.empty() ? std::nullopt : std::optional(Errc::torn));
      }
      if (!torn.empty()) {
        try {
          trainer.swapper.begin_step(2);
          ADD_FAILURE() << "a pass that reads torn parameters must be refused";
        } catch (const StepError& error) {
          EXPECT_EQ(std::set<ParamId>(error.params().begin(), error.params().end()), torn);
          for (ParamId id : torn)
            EXPECT_NE(std::string(error.what()).find(std::string(trainer.swapper.name(id))),
                      std::string::npos)
                << error.what();
        }
      }
      // Heal them with the values from before the step: just the torn slices, or the parameters
      // whole, in which case the step must come to all of their slices again.
      for (ParamId id : torn) {
        const auto p = static_cast<std::size_t>(id) - static_cast<std::size_t>(trainer.ids[0]);
        for (const auto& [state, from] :
             {std::pair{"w", &old.params[p].w}, std::pair{"m", &old.params[p].m},
              std::pair{"v", &old.params[p].v}}) {
          if (heal_whole) {
            trainer.swapper.write_state<float>(id, state, 0, *from);
            continue;
          }
          for (const auto& [param, offset] : broken.dropped)
            if (param == p)
              trainer.swapper.write_state<float>(id, state, offset,
                                                 std::span<const float>(part(*from, offset)));
        }
      }
      trainer.step(2);
      trainer.expect_equal("the step was resumed");
      trainer.step(2);
      trainer.expect_equal("the step was asked for once more");
      trainer.step(3);
      trainer.twin.step(3);
      trainer.expect_equal("one more step");
      for (ParamId id : trainer.ids) trainer.swapper.remove(id);
    }
  }
}

TEST_P(DropTest, ALoadOfEverythingReplacesTheHalfDoneStep) {
  for (int k : {1, 3, 5}) {
    SCOPED_TRACE(k);
    Trainer trainer(context_, sizes, GetParam().undo);
    trainer.load();
    const test::Twin checkpoint = trainer.twin;
    trainer.step(5);
    break_step(trainer, 6, k);
    EXPECT_EQ(error_of([&] { trainer.step(1); }), Errc::step_incomplete);
    // State by state, as a file of columns would be read; not over before the last of them.
    for (const char* state : {"w", "m", "v"}) {
      EXPECT_EQ(error_of([&] { trainer.step(1); }), Errc::step_incomplete) << state;
      auto run = trainer.swapper.begin({.write = {state}});
      while (auto tile = run.next()) {
        for (const Slice& slice : tile->slices()) {
          const test::Twin::Param& from = checkpoint.params[slice.tag - 1];
          Trainer::copy(slice, state, *state == 'w' ? from.w : *state == 'm' ? from.m : from.v);
        }
        tile->commit();
      }
    }
    trainer.twin = checkpoint;
    trainer.expect_equal("after the load");
    trainer.step(6);  // the number of the step that was half done: it is applied to all
    trainer.twin.step(6);
    trainer.expect_equal("after the step");
    for (ParamId id : trainer.ids) trainer.swapper.remove(id);
  }
}

// Finishing some parameters of a half done step is not finishing the step.
TEST_P(DropTest, APartOfAHalfDoneStepDoesNotEndIt) {
  Trainer trainer(context_, sizes, true);
  trainer.load();
  break_step(trainer, 1, 1);
  Pass some;
  some.step = 1;
  some.only = {trainer.ids[1]};
  {
    auto run = trainer.swapper.begin(some);
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) test::update(slice, 1);
      tile->commit();
    }
  }
  EXPECT_EQ(error_of([&] { trainer.step(2); }), Errc::step_incomplete);
  trainer.swapper.add("new", 10, {.tag = 1});
  trainer.swapper.seal();  // which may write initial values
  EXPECT_EQ(error_of([&] { trainer.step(2); }), Errc::step_incomplete);
  trainer.step(1);
  trainer.twin.step(1);
  trainer.expect_equal("the step was resumed");
  trainer.step(2);
  trainer.twin.step(2);
  trainer.expect_equal("one more");
}

// What an engine sets in the middle of a step does not make it forget which tiles hold the step.
TEST_P(DropTest, WritingOneStateKeepsTheStepOfItsTiles) {
  Trainer trainer(context_, sizes, true);
  trainer.load();
  const Broken broken = break_step(trainer, 1, 2);
  ASSERT_TRUE(broken.committed.contains(Key{0, 0}));
  const std::vector<float> v(8192, 3.0f);
  trainer.swapper.write_state<float>(trainer.ids[0], "v", 0, v);
  trainer.step(1);
  trainer.twin.step(1);
  trainer.twin.params[0].v = v;
  EXPECT_EQ(test::read(trainer.swapper, trainer.ids[0], "w"), trainer.twin.params[0].w);
  EXPECT_EQ(test::read(trainer.swapper, trainer.ids[0], "v"), v);
}

TEST_P(DropTest, NothingIsLostOrTornByDroppingWhatWasOnlyRead) {
  Trainer trainer(context_, sizes);
  trainer.load();
  {
    auto run = trainer.swapper.begin_step(1);
    while (auto tile = run.next())
      for (const Slice& slice : tile->slices())
        EXPECT_EQ(slice.of<const float>("m")[0], trainer.twin.params[slice.tag - 1].m[0]);
  }
  trainer.expect_equal("after the drops");
  trainer.step(1);
  trainer.twin.step(1);
  trainer.expect_equal("after the step");
}

TEST_P(DropTest, NextRefusesToGoOnBehindATornTile) {
  Trainer trainer(context_, sizes, GetParam().undo);
  trainer.load();
  auto run = trainer.swapper.begin_step(1);
  run.next()->slices()[0].of<float>("w")[0] = 7;  // and dropped at the end of the line
  if (GetParam().keeps_old() || trainer.swapper.stats().resident_tiles < 4) {
    EXPECT_TRUE(run.next());
  } else {
    EXPECT_THROW(run.next(), StepError);
    EXPECT_THROW(run.next(), StepError);
  }
}

// Tiles that are committed after the run has come to its end, or is gone, count.
TEST_P(DropTest, TilesMayOutliveTheirRun) {
  Trainer trainer(context_, {4096, 4096, 4096}, true);
  trainer.load();
  {
    std::optional<Tile> late;
    {
      auto run = trainer.swapper.begin_step(1);
      late = run.next();
      auto dropped = run.next();
      for (const Slice& slice : dropped->slices()) test::update(slice, 1);
    }
    EXPECT_EQ(error_of([&] { trainer.swapper.begin_step(1); }), Errc::busy);
    for (const Slice& slice : late->slices()) test::update(slice, 1);
    late->commit();
  }
  EXPECT_EQ(error_of([&] { trainer.swapper.begin_step(2); }), Errc::step_incomplete);
  trainer.step(1);
  trainer.twin.step(1);
  trainer.expect_equal("after the step");
}

struct Probe : Attachment {
  explicit Probe(std::vector<std::string>& log) : log_(log) {}
  ~Probe() override { log_.emplace_back("gone"); }
  void publish() noexcept override { log_.emplace_back("published"); }
  std::vector<std::string>& log_;
};

TEST_P(DropTest, AttachmentsArePublishedWithTheCommitOrNotAtAll) {
  Trainer trainer(context_, {4096, 4096});
  std::vector<std::string> log;
  auto run = trainer.swapper.begin({});
  {
    auto tile = run.next();
    tile->attach(std::make_unique<Probe>(log));
    tile->attach(nullptr);
    EXPECT_TRUE(log.empty());
    tile->commit();
    EXPECT_EQ(log, (std::vector<std::string>{"published", "gone"}));
    EXPECT_EQ(error_of([&] { tile->attach(std::make_unique<Probe>(log)); }),
              Errc::invalid_argument);
  }
  log.clear();
  {
    auto tile = run.next();
    tile->attach(std::make_unique<Probe>(log));
  }
  EXPECT_EQ(log, (std::vector<std::string>{"gone"}));
}

std::vector<Home> places() {
  std::vector<Home> all = test::homes();
  for (Home home : test::homes()) {
    home.undo = true;
    all.push_back(home);
  }
  for (double ratio : {0.5, 1.0})
    for (auto [read, write] : {std::pair{false, false}, {true, false}, {false, true}})
      all.push_back({.ratio = ratio, .pipeline_read = read, .pipeline_write = write});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, DropTest, ::testing::ValuesIn(places()), test::home_name);

}  // namespace
}  // namespace spillway
