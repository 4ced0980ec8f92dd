// The engine's own code throws at any slice of a step: what is old, new or torn is exactly what the
// API promises, for the states and for the leases that were attached, and no destructor throws.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "fault/job.h"
#include "support/captured_log.h"

namespace spillway {
namespace {

using test::Job;
using test::Twin;

struct Place {
  const char* name;
  OffloadDevice device = OffloadDevice::nvme;
  double ratio = 1;
  bool undo = false;
  bool keeps_old() const { return undo || (device == OffloadDevice::nvme && ratio == 1); }
};

struct TheEnginesOwn : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class EngineExceptionTest : public testing::TestWithParam<Place> {
 protected:
  Config config() const {
    Config config = test::job_config(scratch.path());
    config.offload_optimizer.device = config.offload_param.device = GetParam().device;
    config.offload_optimizer.ratio = GetParam().ratio;
    return config;
  }
  const CapturedLog log;
  test::Scratch scratch;
};

using Key = std::pair<std::uint64_t, std::int64_t>;  // tag and offset of a slice

// The tiles of a step as lists of slices.
std::vector<std::vector<Key>> tiles_of(Job& job) {
  std::vector<std::vector<Key>> tiles;
  auto run = job.optimizer.begin({.read = {"w"}});
  while (auto tile = run.next()) {
    tiles.emplace_back();
    for (const Slice& slice : tile->slices()) tiles.back().emplace_back(slice.tag, slice.offset);
    tile->commit();
  }
  return tiles;
}

bool same(const std::vector<float>& a, const std::vector<float>& b, const Key& slice) {
  const auto from = static_cast<std::size_t>(slice.second);
  const std::size_t to = std::min(a.size(), from + 4096);
  return std::equal(a.begin() + slice.second, a.begin() + static_cast<std::ptrdiff_t>(to),
                    b.begin() + slice.second);
}

TEST_P(EngineExceptionTest, AtEverySliceAllIsOldNewOrTornAsPromised) {
  for (std::size_t k = 0;; ++k) {
    SCOPED_TRACE("slice " + std::to_string(k));
    Context context(config());
    Job job(context, {9000, 7, 600, 4096, 5000}, GetParam().undo);
    job.load();
    job.step(1);
    const auto tiles = tiles_of(job);
    const Twin old = job.twin;

    std::vector<Key> seen;
    bool thrown = false;
    try {
      job.step(2, [&](const Slice& slice) {
        seen.emplace_back(slice.tag, slice.offset);
        if (seen.size() == k + 1) {
          slice.of<float>("m")[0] = -77;  // half done
          throw TheEnginesOwn("out of ideas");
        }
      });
    } catch (const TheEnginesOwn& mine) {
      thrown = true;
      EXPECT_STREQ(mine.what(), "out of ideas") << "not what the engine threw";
    }
    if (!thrown) {
      EXPECT_GT(k, 5u);
      EXPECT_EQ(job.difference(), "");
      break;
    }
    // What was committed before: whole tiles, in the order of the step.
    std::set<Key> committed, dropped;
    std::size_t passed = 0;
    for (const auto& tile : tiles) {
      if (passed + tile.size() <= k) {
        for (const Key& slice : tile) committed.insert(slice);
      } else if (passed <= k) {
        for (const Key& slice : tile) dropped.insert(slice);
      }
      passed += tile.size();
    }
    Twin now = old;
    now.step(2);
    for (std::uint64_t tag = 0; tag < old.params.size(); ++tag) {
      bool torn = false;
      std::vector<float> w(old.params[tag].w.size()), m = w;
      try {
        job.optimizer.read_state<float>(job.states[tag], "w", 0, std::span(w));
        job.optimizer.read_state<float>(job.states[tag], "m", 0, std::span(m));
      } catch (const StepError& error) {
        torn = true;
        EXPECT_EQ(error.code(), Errc::torn);
        EXPECT_EQ(error.params(), std::vector<ParamId>{job.states[tag]});
      }
      bool was_dropped = false;
      for (const Key& slice : dropped) was_dropped |= slice.first == tag;
      if (torn) {
        EXPECT_FALSE(GetParam().keeps_old()) << "layer " << tag;
        EXPECT_TRUE(was_dropped) << "layer " << tag;
        continue;
      }
      // The weights became visible with the tile that made them, or not at all.
      const Lease lease = job.weights.fetch(job.copies[tag]);
      const auto got = lease.as<const float>();
      const std::vector<float> weights(got.begin(), got.end());
      for (std::int64_t offset = 0; offset < std::ssize(w); offset += 4096) {
        const Key slice{tag, offset};
        const Twin& expected = committed.contains(slice) ? now : old;
        EXPECT_TRUE(same(w, expected.params[tag].w, slice))
            << "w of layer " << tag << "+" << offset;
        EXPECT_TRUE(same(m, expected.params[tag].m, slice))
            << "m of layer " << tag << "+" << offset;
        EXPECT_TRUE(same(weights, expected.params[tag].w, slice))
            << "weights of layer " << tag << "+" << offset;
      }
    }
    // The way on: torn states are written again, then the same step is resumed, and nothing is
    // applied twice.
    for (int attempt = 0; attempt < 20; ++attempt) {
      try {
        job.twin = old;
        job.step(2);
        break;
      } catch (const StepError& error) {
        for (const ParamId torn : error.params()) {
          const auto tag = static_cast<std::size_t>(
              std::find(job.states.begin(), job.states.end(), torn) - job.states.begin());
          const Twin::Param& param = old.params[tag];
          job.optimizer.write_state<float>(torn, "w", 0, std::span<const float>(param.w));
          job.optimizer.write_state<float>(torn, "m", 0, std::span<const float>(param.m));
          job.optimizer.write_state<float>(torn, "v", 0, std::span<const float>(param.v));
        }
      }
    }
    EXPECT_EQ(job.difference(), "");
    job.step(3);
    EXPECT_EQ(job.difference(), "");
    if (HasFailure()) return;
  }
  EXPECT_TRUE(scratch.empty());
}

// A job that is thrown away in the middle of a step, in every order of destruction.
TEST_P(EngineExceptionTest, DestructorsNeverThrow) {
  for (int order = 0; order < 6; ++order) {
    std::optional<Context> context(config());
    std::optional<Job> job(std::in_place, *context, Job::small_model(), GetParam().undo);
    job->load();
    std::optional<spillway::Run> run(job->optimizer.begin_step(1));
    std::optional<Tile> tile = run->next();
    test::update(tile->slices()[0], 1);
    std::optional<Lease> lease(job->weights.fetch(job->copies[1], Access::update));
    tile->attach(job->weights.fetch(job->copies[2], Access::overwrite));
    job->weights.prefetch(job->units);
    switch (order) {
      case 0: tile.reset(), lease.reset(), run.reset(), job.reset(), context.reset(); break;
      case 1: context.reset(), run.reset(), tile.reset(), lease.reset(), job.reset(); break;
      case 2: tile->commit(), context.reset(), lease->commit(), run.reset(), job.reset(); break;
      case 3: lease->commit(), run.reset(), tile.reset(), job.reset(), context.reset(); break;
      case 4: tile->commit(), run.reset(), lease.reset(), context.reset(), job.reset(); break;
      default: tile.reset(), context.reset(), run.reset(), lease.reset(), job.reset(); break;
    }
  }
  EXPECT_TRUE(scratch.empty());
}

INSTANTIATE_TEST_SUITE_P(Places, EngineExceptionTest,
                         testing::Values(Place{"none", OffloadDevice::none},
                                         Place{"cpu", OffloadDevice::cpu},
                                         Place{"cpu_undo", OffloadDevice::cpu, 1, true},
                                         Place{"nvme_ratio0", OffloadDevice::nvme, 0},
                                         Place{"nvme_ratio50", OffloadDevice::nvme, 0.5},
                                         Place{"nvme_ratio50_undo", OffloadDevice::nvme, 0.5, true},
                                         Place{"nvme_ratio100", OffloadDevice::nvme, 1}),
                         [](const auto& place) { return std::string(place.param.name); });

}  // namespace
}  // namespace spillway
