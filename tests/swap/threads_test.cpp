// Several threads in one run, tiles that are committed elsewhere, and readers beside them.

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "support/captured_log.h"
#include "swap/contents.h"

namespace spillway {
namespace {

using test::error_of;
using test::Home;
using test::Trainer;

class ThreadsTest : public ::testing::TestWithParam<Home> {
 protected:
  Config config(int buffers) {
    Config config = test::config_for(GetParam(), scratch_.path());
    config.offload_optimizer.buffer_count = buffers;
    return config;
  }
  CapturedLog log_;
  test::Scratch scratch_;
};

std::vector<std::int64_t> many() {
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < 20; ++i) sizes.push_back(1 + 997 * i);
  return sizes;
}

TEST_P(ThreadsTest, SeveralThreadsPullOneRun) {
  Context context(config(5));
  Trainer trainer(context, many(), GetParam().undo, 7);
  trainer.load();
  for (std::int64_t n = 1; n <= 4; ++n) {
    auto run = trainer.swapper.begin_step(n);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)  // four hold one tile each: as many as five buffers allow
      threads.emplace_back([&, t] {
        try {
          while (auto tile = run.next()) {
            for (const Slice& slice : tile->slices()) test::update(slice, n);
            if (t % 2 == 0) std::this_thread::yield();
            tile->commit();
          }
        } catch (const Error& error) {
          ADD_FAILURE() << error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(run.next());
    trainer.twin.step(n);
  }
  trainer.expect_equal("after four steps");
}

// More threads than tiles may be held: the surplus is told so at once, and nothing else happens.
TEST_P(ThreadsTest, TooManyThreadsAreToldNotBlocked) {
  Context context(config(3));
  Trainer trainer(context, many(), GetParam().undo);
  trainer.load();
  auto run = trainer.swapper.begin_step(1);
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 5; ++t)
    threads.emplace_back([&] {
      for (;;) {
        try {
          auto tile = run.next();
          if (!tile) return;
          for (const Slice& slice : tile->slices()) test::update(slice, 1);
          tile->commit();
        } catch (const Error& error) {
          if (error.code() != Errc::would_deadlock) {
            ADD_FAILURE() << error.what();
            return;
          }
          ++refused;
          std::this_thread::yield();
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  trainer.twin.step(1);
  trainer.expect_equal("after the step, with " + std::to_string(refused) + " refusals");
}

// A queue of tiles on their way from the pulling thread to those that finish them.
class Belt {
 public:
  void put(Tile tile) {
    const std::lock_guard lock(mutex_);
    tiles_.push_back(std::move(tile));
    moved_.notify_all();
  }
  std::optional<Tile> take() {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return ended_ || !tiles_.empty(); });
    if (tiles_.empty()) return std::nullopt;
    Tile tile = std::move(tiles_.front());
    tiles_.pop_front();
    ++taken_;
    return tile;
  }
  void done() {
    const std::lock_guard lock(mutex_);
    --taken_;
    moved_.notify_all();
  }
  // Waits until fewer than `most` are queued or being worked on.
  void wait_below(int most) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return static_cast<int>(tiles_.size()) + taken_ < most; });
  }
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    moved_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<Tile> tiles_;
  int taken_ = 0;
  bool ended_ = false;
};

TEST_P(ThreadsTest, TilesAreCommittedAndDroppedOnOtherThreads) {
  Context context(config(4));
  Trainer trainer(context, many(), true, 5);
  trainer.load();
  for (std::int64_t n = 1; n <= 3; ++n) {
    for (bool complete = false; !complete;) {  // until no tile was dropped
      Belt belt;
      std::atomic<bool> dropped{false};
      std::vector<std::thread> threads;
      for (unsigned t = 0; t < 2; ++t)
        threads.emplace_back([&, t] {
          std::mt19937 random(static_cast<unsigned>(n) * 10 + t);
          while (auto tile = belt.take()) {
            for (const Slice& slice : tile->slices()) test::update(slice, n);
            if (random() % 9 == 0) {
              tile.reset();
              dropped = true;
            } else {
              tile->commit();
            }
            belt.done();
          }
        });
      {
        auto run = trainer.swapper.begin_step(n);
        for (;;) {
          belt.wait_below(3);
          auto tile = run.next();
          if (!tile) break;
          belt.put(std::move(*tile));
        }
        belt.end();
        for (std::thread& thread : threads) thread.join();
      }
      complete = !dropped;
    }
    trainer.twin.step(n);
    trainer.expect_equal("after step " + std::to_string(n));
  }
}

// Readers beside open runs always get a committed value: all of a slice from one step, and never
// one that is older than what they saw before.
TEST_P(ThreadsTest, ReadersSeeCommittedValuesOnly) {
  constexpr std::int64_t steps = 25;
  const std::vector<std::int64_t> sizes{20000, 300, 4097, 12288};
  Context context(config(4));
  OptimizerSwapper swapper(context, {.states = {{"a"}, {"b", DType::u8, 64}}, .undo = true});
  std::vector<ParamId> ids;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    ids.push_back(swapper.add("p" + std::to_string(i), sizes[i]));
  std::vector<std::int64_t> cuts;  // where slices of p0 begin
  {
    auto run = swapper.begin({.only = {ids[0]}, .read = {"a"}});
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) cuts.push_back(slice.offset);
      tile->commit();
    }
  }
  std::atomic<bool> over{false};
  std::vector<std::thread> readers;
  for (unsigned t = 0; t < 2; ++t)
    readers.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<float> seen(sizes.size() * 64, 0);
      try {
        while (!over) {
          const std::size_t p = random() % sizes.size();
          if (random() % 2 == 0) {
            std::vector<std::uint8_t> b(static_cast<std::size_t>((sizes[p] + 63) / 64));
            swapper.read_state<std::uint8_t>(ids[p], "b", 0, b);
            if (p != 0) {
              for (std::uint8_t value : b) ASSERT_TRUE(value == b[0] || sizes[p] > 4096);
            }
            continue;
          }
          std::vector<float> a(static_cast<std::size_t>(sizes[p]));
          swapper.read_state<float>(ids[p], "a", 0, a);
          for (std::size_t i = 1; i < a.size(); ++i)
            if (a[i] != a[i - 1]) {
              ASSERT_EQ(i % 4096, 0u) << "a slice is half of one step and half of another";
            }
          for (std::size_t c = 0; p == 0 && c < cuts.size(); ++c) {
            const float now = a[static_cast<std::size_t>(cuts[c])];
            ASSERT_GE(now, seen[c]) << "back to an older value";
            ASSERT_LE(now, static_cast<float>(steps));
            seen[c] = now;
          }
        }
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
    });
  for (std::int64_t n = 1; n <= steps; ++n)
    swapper.step(n, [n](const Slice& slice) {
      std::ranges::fill(slice.of<float>("a"), -1.0f);  // not to be seen by anybody
      std::this_thread::yield();
      std::ranges::fill(slice.of<float>("a"), static_cast<float>(n));
      std::ranges::fill(slice.of<std::uint8_t>("b"), static_cast<std::uint8_t>(n));
    });
  over = true;
  for (std::thread& reader : readers) reader.join();
  for (std::size_t p = 0; p < sizes.size(); ++p)
    EXPECT_EQ(test::read(swapper, ids[p], "a"),
              std::vector<float>(static_cast<std::size_t>(sizes[p]), static_cast<float>(steps)));
}

// Without undo a reader is told that memory is being written to; it never sees half a tile.
TEST_P(ThreadsTest, ReadersWithoutUndoAreToldBusy) {
  Context context(config(3));
  Trainer trainer(context, {9000, 10});
  trainer.load();
  auto run = trainer.swapper.begin_step(1);
  auto tile = run.next();
  std::vector<float> w(10);
  const auto during =
      error_of([&] { trainer.swapper.read_state<float>(trainer.ids[0], "w", 0, std::span(w)); });
  const OptimizerStats stats = trainer.swapper.stats();
  if (stats.resident_tiles == stats.tiles) {
    EXPECT_EQ(during, Errc::busy);
  } else if (stats.resident_tiles == 0) {
    EXPECT_FALSE(during);
    EXPECT_EQ(w[3], trainer.twin.params[0].w[3]);
  }
  tile->commit();
  EXPECT_FALSE(error_of([&] { trainer.swapper.read_state<float>(trainer.ids[0], "w", 0, w); }));
}

// Everything at once, with calls between passes thrown in: each either works or says busy.
TEST_P(ThreadsTest, CallsOfEveryKindSideBySide) {
  Context context(config(5));
  OptimizerSwapper swapper(context, {.states = {{"a"}}, .undo = true});
  std::vector<UnitId> units;
  for (int u = 0; u < 3; ++u) {
    units.push_back(swapper.add_unit("u" + std::to_string(u)));
    swapper.add("fixed" + std::to_string(u), 9000, {.unit = units.back()});
  }
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t + 1);
      const auto pick = [&](unsigned below) {
        return static_cast<std::uint32_t>(random() % below);
      };
      std::vector<ParamId> mine;
      for (int i = 0; i < 60; ++i) {
        try {
          const UnitId unit = units[pick(3)];
          switch (pick(6)) {
            case 0: mine.push_back(swapper.add("more", 1 + pick(5000), {.unit = unit})); break;
            case 1:
              if (!mine.empty()) {
                swapper.remove(mine.back());
                mine.pop_back();
              }
              break;
            case 2: {
              std::vector<float> values(100, 1.0f);
              swapper.write_state<float>(ParamId{pick(3)}, "a", pick(8000),
                                         std::span<const float>(values));
              break;
            }
            case 3: {
              std::vector<float> values(9000);
              swapper.read_state<float>(ParamId{pick(3)}, "a", 0, std::span(values));
              break;
            }
            default: {
              Pass pass;
              pass.units = {unit};
              auto run = swapper.begin(pass);
              while (auto tile = run.next()) {
                for (const Slice& slice : tile->slices())
                  for (float& value : slice.of<float>("a")) value += 1;
                tile->commit();
              }
            }
          }
        } catch (const Error& error) {
          if (error.code() != Errc::busy && error.code() != Errc::would_deadlock)
            ADD_FAILURE() << to_string(error.code()) << ": " << error.what();
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  swapper.step(1, [](const Slice&) {});
}

std::vector<Home> places() {
  std::vector<Home> all{{.device = OffloadDevice::cpu}, {.ratio = 0.5}, {.ratio = 1}};
  all.push_back({.ratio = 0.5, .pipeline_read = false, .pipeline_write = false});
  all.push_back({.device = OffloadDevice::cpu, .pipeline_read = false, .pipeline_write = false});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, ThreadsTest, ::testing::ValuesIn(places()), test::home_name);

}  // namespace
}  // namespace spillway
