// Random calls on a parameter swapper with tiny budgets, against plain arrays. The seed is printed;
// SPILLWAY_SOAK=1 runs many.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/twin.h"
#include "swap/parameter_fixture.h"

namespace spillway::test {
namespace {

class Model {
 public:
  Model(unsigned seed, OffloadDevice device, const std::filesystem::path& path)
      : random_(seed),
        may_drop_(device == OffloadDevice::nvme),
        context_(config(device, path)),
        moments_(context_, {.states = {{"m"}, {"v"}}}),
        swapper_(context_) {
    for (int u = 0; u < 4; ++u) {
      units_.push_back(swapper_.add_unit("unit" + std::to_string(u)));
      members_.emplace_back();
      const int count = pick(0, 4);
      for (int i = 0; i < count; ++i) add(u);
    }
    if (expected_.empty()) add(0);
    for (std::size_t p = 0; p < ids_.size(); ++p) moments_.add("p", size(p), {.tag = p});
  }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) step();
    swapper_.flush();
    for (std::size_t p = 0; p < expected_.size(); ++p) check(p, {0, size(p)});
    const ParameterStats stats = swapper_.stats();
    EXPECT_LE(stats.peak_cached_elements, cap_);
    EXPECT_LE(stats.peak_pool_bytes, count_ * size_);
    EXPECT_EQ(stats.unwritten_bytes, 0);
  }

 private:
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  Config config(OffloadDevice device, const std::filesystem::path& path) {
    count_ = pick(1, 4);
    size_ = 64 * 1024 * pick(2, 6);
    cap_ = pick(0, 3) == 0 ? 0 : pick(1, 80'000);
    Config made = parameter_config(device, path, count_, size_, cap_);
    made.io.checksums = pick(0, 3) != 0;
    made.offload_optimizer = small_config(device, path).offload_optimizer;
    made.io.block_size = pick(0, 1) == 0 ? 8192 : 1024 * 1024;
    return made;
  }

  std::int64_t size(std::size_t p) const { return std::ssize(expected_[p]); }

  void add(int u) {
    constexpr int odd[] = {1, 4095, 4096, 4097, 8192, 9000, 12'288, 20'001};
    const std::int64_t elements = odd[pick(0, 7)];
    const bool keep = pick(0, 9) == 0;
    kept_ = kept_ || keep;
    ids_.push_back(swapper_.add(
        "p" + std::to_string(ids_.size()), elements, DType::f32,
        {.unit = units_[static_cast<std::size_t>(u)], .tag = ids_.size(), .keep = keep}));
    members_[static_cast<std::size_t>(u)].push_back(expected_.size());
    expected_.emplace_back(static_cast<std::size_t>(elements), 0.0f);
  }

  Range any_range(std::size_t p) {
    const auto elements = static_cast<int>(size(p));
    if (pick(0, 2) == 0) return {0, elements};
    int from = pick(0, elements - 1);
    if (pick(0, 1) == 0) from = from / 4096 * 4096;
    int count = pick(1, elements - from);
    if (pick(0, 1) == 0 && count > 4096) count = count / 4096 * 4096;
    return {from, count};
  }

  void check(std::size_t p, Range range) {
    if (range.count * 4 > count_ * size_) return;
    const Lease lease = swapper_.fetch(ids_[p], Access::read, range);
    const auto got = lease.as<const float>();
    for (std::int64_t i = 0; i < range.count; ++i)
      ASSERT_EQ(got[static_cast<std::size_t>(i)],
                expected_[p][static_cast<std::size_t>(range.offset + i)])
          << "parameter " << p << " element " << range.offset + i;
  }

  void change(std::size_t p, const View& view, bool commit) {
    const auto to = view.as<float>();
    ++version_;
    for (std::int64_t i = 0; i < view.count; ++i) {
      const float value = value_of(p, view.offset + i, version_);
      to[static_cast<std::size_t>(i)] = value;
      if (commit) expected_[p][static_cast<std::size_t>(view.offset + i)] = value;
    }
  }

  // One step of an optimizer: some of what it changes was read ahead before it, each tile takes
  // ranges of parameters with it, or is dropped with them, and what it changed is looked at
  // between tiles and after it.
  void train() {
    struct Change {
      std::size_t p;
      std::int64_t offset, version;
      std::int64_t count;
    };
    for (const ParamId id : ids_)
      if (pick(0, 1) == 0) swapper_.prefetch(id);
    if (!std::exchange(left_early_, true)) ++steps_;  // else that one is resumed
    spillway::Run run = moments_.begin_step(steps_);
    while (auto tile = run.next()) {
      std::vector<Change> changes;
      for (const Slice& slice : tile->slices()) {
        const std::size_t p = slice.tag;
        // The leases of a tile are held together, and each takes whole granules of the pool.
        if (removed_.contains(p) || pick(0, 3) == 0 || std::ssize(changes) == count_) continue;
        if (slice.count * 4 + 2 * 4096 * 4 > size_) continue;
        Lease lease = swapper_.fetch(ids_[p], pick(0, 1) == 0 ? Access::overwrite : Access::update,
                                     {slice.offset, slice.count});
        changes.push_back({p, slice.offset, ++version_, slice.count});
        fill(lease.as<float>(), p, slice.offset, version_);
        tile->attach(std::move(lease));
      }
      if (may_drop_ && pick(0, 9) == 0) return;
      tile->commit();
      for (const Change& change : changes)
        fill(std::span(expected_[change.p])
                 .subspan(static_cast<std::size_t>(change.offset),
                          static_cast<std::size_t>(change.count)),
             change.p, change.offset, change.version);
      if (!changes.empty() && pick(0, 2) == 0) check(changes.back().p, any_range(changes.back().p));
    }
    left_early_ = false;
  }

  // Another one takes its place, in the unit's last.
  void replace(std::size_t p) {
    swapper_.remove(ids_[p]);
    removed_.insert(p);
    for (std::size_t u = 0; u < members_.size(); ++u)
      if (std::erase(members_[u], p) > 0) {
        members_[u].push_back(p);
        expected_[p].assign(static_cast<std::size_t>(pick(1, 9000)), 0.0f);
        ids_[p] = swapper_.add("again", size(p), DType::f32, {.unit = units_[u], .tag = p});
      }
  }

  bool fits(int u) {
    std::int64_t bytes = 0;
    for (const std::size_t p : members_[static_cast<std::size_t>(u)]) bytes += footprint(p);
    return bytes <= count_ * size_;
  }

  // Whether some of it fits the cache, and the rest the pool.
  bool fits_both(int u) {
    const std::vector<std::size_t>& members = members_[static_cast<std::size_t>(u)];
    for (std::uint32_t subset = 0; subset < 1U << members.size(); ++subset) {
      std::int64_t elements = 0, bytes = 0;
      for (std::size_t i = 0; i < members.size(); ++i)
        if ((subset >> i & 1U) != 0)
          elements += size(members[i]);
        else
          bytes += footprint(members[i]);
      if (elements <= cap_ && bytes <= count_ * size_) return true;
    }
    return false;
  }

  std::int64_t footprint(std::size_t p) { return (size(p) * 4 + 4095) / 4096 * 4096; }

  void step() {
    const auto p = static_cast<std::size_t>(pick(0, static_cast<int>(ids_.size()) - 1));
    const int u = pick(0, 3);
    const UnitId unit = units_[static_cast<std::size_t>(u)];
    switch (pick(0, 13)) {
      case 0:
      case 1: check(p, any_range(p)); break;
      case 2:
      case 3: {
        Lease lease = swapper_.fetch(ids_[p], Access::overwrite, any_range(p));
        const bool commit = pick(0, 4) != 0;
        change(p, lease.tensors()[0], commit);
        if (commit) lease.commit();
        break;
      }
      case 4: {
        const Range range = any_range(p);
        Lease lease = swapper_.fetch(ids_[p], Access::update, range);
        const auto old = lease.as<const float>();
        for (std::int64_t i = 0; i < range.count; ++i)
          ASSERT_EQ(old[static_cast<std::size_t>(i)],
                    expected_[p][static_cast<std::size_t>(range.offset + i)]);
        const bool commit = pick(0, 4) != 0;
        change(p, lease.tensors()[0], commit);
        if (commit) lease.commit();
        break;
      }
      case 5: {
        const bool write = pick(0, 1) == 0;
        if (write && !fits(u)) break;
        Lease lease;
        try {
          lease = swapper_.fetch(unit, write ? Access::update : Access::read);
        } catch (const Error& error) {
          // What is to be kept need not leave room in the cache for the rest.
          ASSERT_TRUE(error.code() == Errc::does_not_fit && !fits(u) && (kept_ || !fits_both(u)))
              << error.what();
          break;
        }
        const auto& members = members_[static_cast<std::size_t>(u)];
        ASSERT_EQ(lease.tensors().size(), members.size());
        for (std::size_t i = 0; i < members.size(); ++i) {
          const auto got = lease.tensors()[i].as<const float>();
          ASSERT_TRUE(std::equal(got.begin(), got.end(), expected_[members[i]].begin()));
          if (write) change(members[i], lease.tensors()[i], true);
        }
        if (write) lease.commit();
        break;
      }
      case 6: swapper_.prefetch(unit); break;
      case 7: swapper_.prefetch(ids_[p], any_range(p)); break;
      case 8: swapper_.begin_pass(pick(0, 1) == 0 ? "train" : "eval"); break;
      case 9: {
        const Range range = any_range(p);
        std::vector<float> to(static_cast<std::size_t>(range.count));
        swapper_.read_into(ids_[p], std::span(to), range).wait();
        for (std::size_t i = 0; i < to.size(); ++i)
          ASSERT_EQ(to[i], expected_[p][static_cast<std::size_t>(range.offset) + i]);
        break;
      }
      case 10:
        if (pick(0, 3) == 0) swapper_.flush();
        break;
      case 11: train(); break;
      case 12:
        if (pick(0, 3) == 0) replace(p);
        break;
      default:
        if (auto lease = swapper_.try_fetch(unit)) {
          for (std::size_t i = 0; i < lease->tensors().size(); ++i) {
            const auto got = lease->tensors()[i].as<const float>();
            const auto& all = expected_[members_[static_cast<std::size_t>(u)][i]];
            ASSERT_TRUE(std::equal(got.begin(), got.end(), all.begin()));
          }
        }
        break;
    }
  }

  std::mt19937 random_;
  const bool may_drop_;  // elsewhere the state of a step that is left early is torn
  std::int64_t count_ = 0, size_ = 0, cap_ = 0;
  bool kept_ = false;  // some of it
  Context context_;
  OptimizerSwapper moments_;
  ParameterSwapper swapper_;
  std::vector<UnitId> units_;
  std::vector<std::vector<std::size_t>> members_;  // by unit
  std::vector<ParamId> ids_;
  std::vector<std::vector<float>> expected_;
  std::int64_t version_ = 0, steps_ = 0;
  bool left_early_ = false;
  std::set<std::size_t> removed_;  // of those in the moments
};

TEST(ParameterModelTest, RandomCallsMatchPlainArrays) {
  const Scratch scratch;
  const unsigned seeds = ::getenv("SPILLWAY_SOAK") != nullptr ? 500 : 12;
  std::random_device device;
  for (unsigned i = 0; i < seeds && !HasFailure(); ++i) {
    const unsigned seed = device();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Model model(seed, i % 4 == 0 ? OffloadDevice::cpu : OffloadDevice::nvme, scratch.path());
    model.run(300);
  }
}

// Each thread changes parameters of its own and reads all: what is read was written by somebody,
// whole, and the budgets hold meanwhile.
TEST(ParameterModelTest, ThreadsSeeWholeVersionsWithinTheBudgets) {
  const Scratch scratch;
  constexpr std::int64_t cap = 30'000, count = 6, size = 64 * 1024;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), count, size, cap));
  ParameterSwapper swapper(context);
  std::vector<ParamId> ids;
  for (std::uint64_t i = 0; i < 8; ++i)
    ids.push_back(swapper.add("p", 8192 + 100 * static_cast<std::int64_t>(i), DType::f32));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 150; ++i) {
        const std::size_t p = random() % ids.size();
        if (p % 3 == t && random() % 2 == 0) {
          Lease lease = swapper.fetch(ids[p], Access::overwrite);
          fill(lease.as<float>(), p, 0, i + 1);
          lease.commit();
        } else if (random() % 4 == 0) {
          swapper.prefetch(ids[p]);
          swapper.begin_pass("train");
        } else {
          const Lease lease = swapper.fetch(ids[p]);
          const auto got = lease.as<const float>();
          const auto version =
              (static_cast<std::int64_t>(got[0]) - static_cast<std::int64_t>(p) * 131) / 1009;
          for (std::size_t e = 0; e < got.size(); ++e)
            ASSERT_EQ(got[e], version == 0 && got[0] == 0
                                  ? 0.0f
                                  : value_of(p, static_cast<std::int64_t>(e), version));
        }
        const ParameterStats stats = swapper.stats();
        ASSERT_LE(stats.cached_elements, cap);
        ASSERT_LE(stats.pool_bytes, count * size);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace spillway::test
