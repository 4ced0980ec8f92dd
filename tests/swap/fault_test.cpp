// A disk that fails: no committed byte is lost, errors say what and where, and the step ends right.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <thread>

#include "support/captured_log.h"
#include "swap/contents.h"
#include "swap/fake_house.h"

namespace spillway {
namespace {

using io::FakeDevice;
using io::FakeOp;
using io::Op;
using test::error_of;
using test::Home;
using test::Trainer;

// Four tiles of three sections each; the last tile has four slices.
const std::vector<std::int64_t> sizes{12288, 1, 600, 63, 2000};

// A swapper over a disk in memory.
struct Rig {
  test::Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(4 * 1024 * 1024);
  CapturedLog log;
  Context context;
  Trainer trainer;

  explicit Rig(const Home& home, double timeout = 20, int buffers = 3,
               const std::vector<std::int64_t>& elements = sizes)
      : context(test::context_in(
            std::make_shared<test::FakeHouse>(config(home, scratch, timeout, buffers), device))),
        trainer(context, elements, false, 2) {}

  static Config config(const Home& home, const test::Scratch& scratch, double timeout,
                       int buffers) {
    Config config = test::config_for(home, scratch.path());
    config.offload_optimizer.buffer_count = buffers;
    config.io.timeout = timeout;
    config.io.shutdown_timeout = timeout;
    return config;
  }

  // Loads and steps once, so that everything is on the device. Both twins follow.
  void prepare() {
    trainer.load();
    trainer.step(1);
    trainer.twin.step(1);
  }
  // Operation `n` from now on fails with `error`; with `lasting`, so do all of its kind behind it.
  void fail_at(std::int64_t n, int error, bool lasting, std::optional<Op> kind = std::nullopt) {
    const std::int64_t at = device->started() + n;
    device->plan([=](const FakeOp& op) -> std::int64_t {
      const bool hit = lasting ? op.number >= at : op.number == at;
      return hit && (!kind || op.op == *kind) ? -error : op.bytes;
    });
  }
  void mend() { device->plan({}); }
};

class FaultTest : public ::testing::TestWithParam<Home> {};

// Whatever operation of a step fails, the step is either not disturbed (a write that went to
// another place at the second attempt) or fails with the device's error, and ends right when it is
// begun again.
TEST_P(FaultTest, EachOperationFailsOnce) {
  for (int error : {EIO, ENOSPC}) {
    Rig rig(GetParam());
    rig.prepare();
    std::int64_t step = 2, retries = 0;
    for (std::int64_t n = 0;; ++n, ++step) {
      SCOPED_TRACE("operation " + std::to_string(n) + " fails with errno " + std::to_string(error));
      rig.fail_at(n, error, false);
      const std::int64_t before = rig.device->started();
      const auto code = error_of([&] { rig.trainer.step(step); });
      if (rig.device->started() <= before + n) {
        EXPECT_FALSE(code);
        EXPECT_GT(n, 0);
        break;
      }
      const FakeOp failed = rig.device->log()[static_cast<std::size_t>(before + n)];
      if (failed.op == Op::write) {
        EXPECT_FALSE(code) << "a write is tried again elsewhere";
        ++retries;
      } else {
        EXPECT_EQ(code, error == EIO ? Errc::io_error : Errc::no_space);
        rig.trainer.step(step);
      }
      EXPECT_EQ(rig.trainer.swapper.stats().write_retries, retries);
      rig.trainer.twin.step(step);
      rig.trainer.expect_equal("after the step");
    }
  }
}

// From the n-th operation on nothing can be written: the step fails, and fails again when it is
// begun again; read_state shows what is committed all the while; when the disk is well again the
// same begin() finishes what was committed and visits only the rest.
TEST_P(FaultTest, WritesFailFromTheNthOnForEver) {
  Rig rig(GetParam());
  rig.prepare();
  std::int64_t step = 2;
  for (std::int64_t n = 0;; ++n, ++step) {
    SCOPED_TRACE("from operation " + std::to_string(n));
    const test::Twin old = rig.trainer.twin;
    rig.fail_at(n, ENOSPC, true, Op::write);
    std::vector<std::pair<std::size_t, std::int64_t>> applied;
    const auto attempt = [&] {
      auto run = rig.trainer.swapper.begin_step(step);
      while (auto tile = run.next()) {
        std::vector<std::pair<std::size_t, std::int64_t>> keys;
        for (const Slice& slice : tile->slices()) {
          test::update(slice, step);
          keys.emplace_back(slice.tag - 1, slice.offset);
        }
        tile->commit();
        applied.insert(applied.end(), keys.begin(), keys.end());
      }
    };
    std::string text;
    const auto code = error_of(attempt, &text);
    rig.trainer.twin.step(step);
    if (!code) {
      EXPECT_GT(n, 0);
      rig.trainer.expect_equal("nothing failed");
      break;
    }
    EXPECT_EQ(code, Errc::no_space) << text;
    for (const char* word : {"optimizer", "tile", "\"p", "state \"", "offset", "spillway"})
      EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
    const auto again = error_of(attempt, &text);
    EXPECT_EQ(again, Errc::no_space) << "the disk is still full: " << text;
    EXPECT_NE(error_of([&] { rig.trainer.step(step + 1); }), std::nullopt);
    // What was committed is new, the rest is old, wherever the bytes are.
    test::Twin now = old;
    for (const auto& [p, offset] : applied)
      for (std::size_t i = static_cast<std::size_t>(offset);
           i < std::min(now.params[p].w.size(), static_cast<std::size_t>(offset) + 4096); ++i) {
        now.params[p].w[i] = rig.trainer.twin.params[p].w[i];
        now.params[p].m[i] = rig.trainer.twin.params[p].m[i];
        now.params[p].v[i] = rig.trainer.twin.params[p].v[i];
      }
    std::swap(now, rig.trainer.twin);
    rig.trainer.expect_equal("the disk is full");
    std::swap(now, rig.trainer.twin);
    rig.mend();
    attempt();
    rig.trainer.expect_equal("the disk is well again");
    std::sort(applied.begin(), applied.end());
    EXPECT_EQ(std::adjacent_find(applied.begin(), applied.end()), applied.end())
        << "a slice was visited twice";
  }
}

TEST_P(FaultTest, ReadsFailForEver) {
  Rig rig(GetParam());
  rig.prepare();
  rig.fail_at(0, EIO, true, Op::read);
  const std::int64_t bytes_read = rig.trainer.swapper.stats().bytes_read;
  std::string text;
  EXPECT_EQ(error_of([&] { rig.trainer.step(2); }, &text), Errc::io_error);
  for (const char* word : {"tile", "\"p", "state \"", "cannot be read", "offset"})
    EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
  std::vector<float> values(1);
  EXPECT_EQ(error_of(
                [&] {
                  for (ParamId id : rig.trainer.ids)
                    rig.trainer.swapper.read_state<float>(id, "m", 0, values);
                },
                &text),
            Errc::io_error);
  EXPECT_NE(text.find("state \"m\""), std::string::npos) << text;
  EXPECT_EQ(rig.trainer.swapper.stats().bytes_read, bytes_read);
  rig.mend();
  rig.trainer.step(2);
  rig.trainer.twin.step(2);
  rig.trainer.expect_equal("after the step");
}

// Changed bytes on the device are an error that names the place, never a wrong number.
TEST_P(FaultTest, ChangedBytesAreCorrupt) {
  Rig rig(GetParam());
  rig.prepare();
  const std::vector<std::byte> good = rig.device->memory();
  for (std::byte& byte : rig.device->memory()) byte ^= std::byte{1};
  std::string text;
  EXPECT_EQ(error_of([&] { rig.trainer.step(2); }, &text), Errc::corrupt);
  for (const char* word : {"tile", "\"p", "state \"", "offset"})
    EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
  EXPECT_EQ(error_of(
                [&] {
                  for (ParamId id : rig.trainer.ids) test::read(rig.trainer.swapper, id, "v");
                },
                &text),
            Errc::corrupt);
  EXPECT_NE(text.find("state \"v\""), std::string::npos) << text;
  rig.device->memory() = good;
  rig.trainer.step(2);
  rig.trainer.twin.step(2);
  rig.trainer.expect_equal("the bytes are back");
}

// Two runs over disjoint units; the writes of one unit's tiles fail. The other one is not hurt.
TEST_P(FaultTest, TwoRunsAndOneOfThemFails) {
  Rig rig(GetParam(), 20, 4);
  rig.prepare();
  Pass front, back;
  front.step = back.step = 2;
  front.units = {rig.trainer.units[0]};
  back.units = {rig.trainer.units[1], rig.trainer.units[2]};
  {
    auto one = rig.trainer.swapper.begin(front);
    auto tile = one.next();
    rig.fail_at(0, EIO, true, Op::write);
    for (const Slice& slice : tile->slices()) test::update(slice, 2);
    tile->commit();
    const auto code = error_of([&] {
      while (auto more = one.next()) {
        for (const Slice& slice : more->slices()) test::update(slice, 2);
        more->commit();
      }
    });
    if (GetParam().ratio == 1) {
      EXPECT_EQ(code, Errc::io_error);
    }
    rig.mend();
    auto two = rig.trainer.swapper.begin(back);
    while (auto more = two.next()) {
      for (const Slice& slice : more->slices()) test::update(slice, 2);
      more->commit();
    }
    if (code) {
      EXPECT_EQ(error_of([&] { one.next(); }), code) << "a run that failed stays failed";
    }
  }
  rig.trainer.step(2);
  rig.trainer.twin.step(2);
  rig.trainer.expect_equal("after the step");
}

// A write that failed and will never succeed goes away with its parameter, or with a reset.
TEST_P(FaultTest, WhatCannotBeWrittenMayBeGivenUp) {
  Rig rig(GetParam());
  rig.prepare();
  rig.fail_at(0, ENOSPC, true, Op::write);
  if (!error_of([&] { rig.trainer.step(2); })) return;
  for (ParamId id : rig.trainer.ids) rig.trainer.swapper.remove(id);
  rig.mend();
  rig.trainer.swapper.add("fresh", 9000, {.tag = 1});
  rig.trainer.step(9);
}

TEST_P(FaultTest, InitThatCannotBeWrittenLeavesNoParameter) {
  if (GetParam().ratio < 1) return;
  Rig rig(GetParam());
  rig.prepare();
  const OptimizerStats before = rig.trainer.swapper.stats();
  const std::vector<float> w(5000, 1.0f);
  rig.fail_at(0, ENOSPC, true, Op::write);
  ParamOptions options;
  options.init = {{"w", std::as_bytes(std::span(w))}};
  EXPECT_EQ(error_of([&] { rig.trainer.swapper.add("full", 5000, options); }), Errc::no_space);
  EXPECT_EQ(rig.trainer.swapper.stats().parameters, before.parameters);
  EXPECT_EQ(rig.trainer.swapper.stats().tiles, before.tiles);
  rig.mend();
  const ParamId id = rig.trainer.swapper.add("fits", 5000, options);
  EXPECT_EQ(test::read(rig.trainer.swapper, id, "w"), w);
  rig.trainer.expect_equal("the others");
}

// A device that stops answering: every call comes back with what is in flight, and when it answers
// again the step goes on.
TEST_P(FaultTest, ASilentDeviceTimesOutAndRecovers) {
  Rig rig(GetParam(), 0.3);
  rig.prepare();
  rig.device->hold();
  std::string text;
  EXPECT_EQ(error_of([&] { rig.trainer.step(2); }, &text), Errc::timeout);
  EXPECT_NE(text.find("in flight"), std::string::npos) << text;
  EXPECT_NE(text.find("io.timeout"), std::string::npos) << text;
  std::vector<float> value(1);
  if (GetParam().ratio == 1) {
    EXPECT_EQ(
        error_of([&] { rig.trainer.swapper.read_state<float>(rig.trainer.ids[0], "w", 0, value); }),
        Errc::timeout);
  }
  EXPECT_EQ(error_of([&] { rig.trainer.step(2); }), Errc::timeout) << "the old run is not over";
  EXPECT_EQ(error_of([&] { rig.trainer.swapper.remove(rig.trainer.ids[0]); }), Errc::timeout);
  rig.device->release();
  rig.trainer.step(2);
  rig.trainer.twin.step(2);
  rig.trainer.expect_equal("after the step");
}

// Destruction with a dead device gives up after its timeout; nothing that the device might still
// write to is freed, and the process lives on.
TEST_P(FaultTest, DestructionOnADeadDevice) {
  {
    Rig rig(GetParam(), 0.2);
    rig.prepare();
    rig.device->hold();
    EXPECT_EQ(error_of([&] { rig.trainer.step(2); }), Errc::timeout);
  }
  {
    Rig rig(GetParam(), 0.2);
    rig.prepare();
    rig.device->hold();
    std::vector<float> value(1);
    for (ParamId id : rig.trainer.ids)
      error_of([&] { rig.trainer.swapper.read_state<float>(id, "w", 0, value); });
  }
  {
    Rig rig(GetParam(), 0.2);
    rig.prepare();
    auto run = rig.trainer.swapper.begin_step(2);
    auto tile = run.next();
    rig.device->hold();
    for (const Slice& slice : tile->slices()) test::update(slice, 2);
    tile->commit();
    const auto lines = rig.log.lines();
  }
  Rig rig(GetParam());  // and another one works
  rig.prepare();
  rig.trainer.expect_equal("a new one");
}

// A second pass takes the buffer of the tile that the first one needs next, because that is the
// only one whose read has ended. The first pass must then give up something of its own that is
// further away: the other buffers are held, and nobody will give them back.
TEST(FaultBuffersTest, APassGivesUpWhatItReadTooEarly) {
  Rig rig({}, 5, 4, {6 * 4096, 10, 4096});
  rig.prepare();
  FakeDevice& device = *rig.device;
  auto front = rig.trainer.swapper.begin({.units = {rig.trainer.units[0]}});
  auto back = rig.trainer.swapper.begin({.units = {rig.trainer.units[1]}});
  const auto pull = [](spillway::Run& run, std::optional<Tile>& tile) {
    return std::thread([&] { EXPECT_FALSE(error_of([&] { tile = run.next(); })); });
  };
  const std::int64_t started = device.started();
  const std::int64_t tiles = rig.trainer.swapper.stats().tiles_read;
  std::optional<Tile> first, second, other;
  device.hold();
  std::thread puller = pull(front, first);
  ASSERT_TRUE(device.wait_started(started + 12)) << "four tiles of three sections";
  device.release(6);  // the first two
  puller.join();
  while (rig.trainer.swapper.stats().tiles_read < tiles + 2) std::this_thread::yield();
  puller = pull(back, other);
  ASSERT_TRUE(device.wait_started(started + 15)) << "it takes the buffer of the second tile";
  device.release();
  puller.join();
  puller = pull(front, second);
  puller.join();
  ASSERT_TRUE(first && second && other);
  EXPECT_EQ(first->slices()[0].offset, 0);
  EXPECT_EQ(second->slices()[0].offset, 4096);
}

// All buffers hold what cannot be written: the next run says so at once, and waits for nobody.
TEST(FaultBuffersTest, AllBuffersHoldWhatCannotBeWritten) {
  Rig rig({}, 20, 3);
  rig.prepare();
  auto run = rig.trainer.swapper.begin({.step = 2, .units = {rig.trainer.units[0]}});
  std::vector<Tile> held;
  held.push_back(*run.next());
  held.push_back(*run.next());
  rig.fail_at(0, ENOSPC, true, Op::write);
  for (Tile& tile : held) {
    for (const Slice& slice : tile.slices()) test::update(slice, 2);
    tile.commit();
  }
  EXPECT_EQ(error_of([&] {
              while (auto tile = run.next()) {
                for (const Slice& slice : tile->slices()) test::update(slice, 2);
                tile->commit();
              }
            }),
            Errc::no_space);
  // One buffer may be left: a pass over the other units may use it, one tile at a time.
  Pass others;
  others.units = {rig.trainer.units[1], rig.trainer.units[2]};
  others.read = {"w"};
  const auto code = error_of([&] {
    auto save = rig.trainer.swapper.begin(others);
    while (auto tile = save.next()) tile->commit();
  });
  EXPECT_TRUE(!code || *code == Errc::no_space);
}

// Three passes over disjoint units, pulled by one thread in a random order while it holds as many
// tiles as it may; the device completes in a random order. Nothing may wait for ever, however the
// buffers are shared out between what is held, read ahead and being written.
TEST_P(FaultTest, InterleavedPassesNeverStarve) {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int buffers = 3 + static_cast<int>(random() % 3);
    Rig rig(GetParam(), 10, buffers, {9000, 12000, 4097, 20000, 100, 16384});
    rig.device->shuffle(seed);
    rig.device->keep_log(false);
    rig.prepare();
    for (std::int64_t n = 2; n <= 4; ++n) {
      std::vector<spillway::Run> runs;
      for (UnitId unit : rig.trainer.units) {
        Pass pass;
        pass.step = n;
        pass.units = {unit};
        runs.push_back(rig.trainer.swapper.begin(pass));
      }
      std::vector<Tile> held;
      const auto give_back = [&] {
        const std::size_t which = random() % held.size();
        for (const Slice& slice : held[which].slices()) test::update(slice, n);
        held[which].commit();
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
      };
      while (!runs.empty()) {
        if (static_cast<int>(held.size()) == buffers - 1 || (!held.empty() && random() % 3 == 0)) {
          give_back();
          continue;
        }
        const std::size_t which = random() % runs.size();
        if (auto tile = runs[which].next()) {
          held.push_back(std::move(*tile));
        } else {
          while (!held.empty()) give_back();
          EXPECT_FALSE(runs[which].next());
          runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(which));
        }
      }
      rig.trainer.twin.step(n);
    }
    rig.trainer.expect_equal("after the steps");
  }
}

std::vector<Home> places() {
  std::vector<Home> all;
  for (auto [read, write] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}})
    all.push_back({.pipeline_read = read, .pipeline_write = write});
  all.push_back({.ratio = 0.5});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, FaultTest, ::testing::ValuesIn(places()), test::home_name);

}  // namespace
}  // namespace spillway
