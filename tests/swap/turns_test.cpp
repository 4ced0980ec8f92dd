// Tiles take turns: half of the buffers at most move in one direction, unless they are small.

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/align.h"
#include "support/captured_log.h"
#include "swap/contents.h"
#include "swap/fake_house.h"

namespace spillway {
namespace {

using io::FakeDevice;
using io::FakeOp;
using io::Op;
using test::error_of;

constexpr std::int64_t big = 4 * MiB;  // one such tile keeps a device busy

struct Turns {
  test::Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(64 * MiB);
  CapturedLog log;
  Context context;
  test::Trainer trainer;

  Turns(int buffers, std::int64_t tile_bytes, double timeout = 20)
      : context(test::context_in(std::make_shared<test::FakeHouse>(
            config(scratch, buffers, tile_bytes, timeout), device))),
        trainer(context, {6 * tile_bytes / 12 - 5}) {}

  static Config config(const test::Scratch& scratch, int buffers, std::int64_t tile_bytes,
                       double timeout) {
    Config config = test::config_for({}, scratch.path(), tile_bytes);
    config.offload_optimizer.buffer_count = buffers;
    config.io.timeout = config.io.shutdown_timeout = timeout;
    return config;
  }
  // Commits the next tile of a pass that only writes.
  bool commit_next(Run& run) {
    auto tile = run.next();
    if (!tile) return false;
    for (const Slice& slice : tile->slices())
      for (const char* state : {"w", "m", "v"})
        test::Trainer::copy(slice, state, trainer.twin.params[0].w);
    tile->commit();
    return true;
  }
  void load() {
    auto run = trainer.swapper.begin(all);
    while (commit_next(run)) {
    }
  }
  void expect_loaded() {
    for (const char* state : {"w", "m", "v"})
      EXPECT_TRUE(test::read(trainer.swapper, trainer.ids[0], state) == trainer.twin.params[0].w)
          << state;
  }
  const Pass all{.write = {{"w", "m", "v"}}};
};

TEST(TurnsTest, BigTilesMoveInTurns) {
  for (const auto& [buffers, most] : {std::pair{3, 2}, {4, 2}, {5, 3}}) {
    Turns turns(buffers, big);
    turns.trainer.load();
    for (std::int64_t step : {1, 2}) {
      turns.trainer.step(step);
      turns.trainer.twin.step(step);
    }
    turns.trainer.expect_equal(std::to_string(buffers) + " buffers");
    EXPECT_LE(turns.device->peak_bytes(Op::read), most * big) << buffers << " buffers";
    EXPECT_LE(turns.device->peak_bytes(Op::write), most * big) << buffers << " buffers";
  }
}

// Two small tiles do not fill a device's queue: nothing of them is held back.
TEST(TurnsTest, SmallTilesAreNotHeldBack) {
  Turns turns(3, MiB);
  turns.device->hold();
  {
    auto run = turns.trainer.swapper.begin(turns.all);
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(turns.commit_next(run));
    EXPECT_TRUE(turns.device->wait_started(6)) << "three sections of each of two tiles";
    turns.device->release();
    while (run.next()) {
    }
  }
}

// What waits for its turn is written when the turn comes, and what failed waits for its next one.
TEST(TurnsTest, AWriteThatFailsPassesTheTurnOn) {
  Turns turns(3, big);
  turns.device->plan([](const FakeOp& op) -> std::int64_t {
    return op.number < 6 ? -ENOSPC : op.bytes;  // three sections, in two blocks each
  });
  turns.device->hold();
  {
    auto run = turns.trainer.swapper.begin(turns.all);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(turns.commit_next(run));
    turns.device->release();
    while (turns.commit_next(run)) {
    }
  }
  EXPECT_EQ(turns.trainer.swapper.stats().write_retries, 1);
  turns.expect_loaded();
}

TEST(TurnsTest, EveryWriteFailsAndNoneIsForgotten) {
  Turns turns(4, big);
  turns.device->plan(
      [](const FakeOp& op) -> std::int64_t { return op.op == Op::write ? -EIO : op.bytes; });
  EXPECT_EQ(error_of([&] { turns.load(); }), Errc::io_error);
  turns.device->plan({});
  turns.load();
  turns.expect_loaded();
}

// With a dead device, what waits for its turn neither hangs the end nor is given away.
TEST(TurnsTest, TheEndComesWithWritesThatWait) {
  Turns turns(3, big, 0.05);
  turns.device->hold();
  {
    auto run = turns.trainer.swapper.begin(turns.all);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(turns.commit_next(run));
  }
}

// A write whose turn comes on another pass's completion and that is refused then: its own pass has
// come to its end, and nobody else would end it.
TEST(TurnsTest, ARefusedWriteEndsItsPass) {
  const test::Scratch scratch;
  const CapturedLog log;
  const auto device = std::make_shared<FakeDevice>(64 * MiB);
  const auto house = std::make_shared<test::FakeHouse>(Turns::config(scratch, 4, big, 1), device);
  Context context = test::context_in(house);
  test::Trainer trainer(context, {10, 20, 30}, false, 1);
  trainer.load();
  auto moves = trainer.swapper.begin({.units = {trainer.units[0], trainer.units[1]}});
  auto waits = trainer.swapper.begin({.units = {trainer.units[2]}});
  auto first = moves.next(), second = moves.next(), third = waits.next();
  EXPECT_FALSE(waits.next()) << "there is no other tile";
  device->hold();
  for (auto* tile : {&*first, &*second, &*third}) {
    for (const Slice& slice : tile->slices()) test::update(slice, 1);
    tile->commit();
  }
  std::thread end([&] { house->engine().shutdown(20); });
  io::Request none;
  while (error_of([&] { house->engine().submit(none); }) != Errc::shut_down)
    std::this_thread::yield();
  device->release();
  end.join();
  EXPECT_EQ(error_of([&] { trainer.swapper.begin({.units = {trainer.units[2]}}); }),
            Errc::shut_down);
}

// A wait ends when nothing has moved for io.timeout, not when a full queue takes longer than that.
TEST(TurnsTest, ASlowDeviceThatMovesIsWaitedFor) {
  Turns turns(4, big, 0.9);
  turns.device->plan([](const FakeOp& op) {
    if (op.op == Op::write) std::this_thread::sleep_for(std::chrono::milliseconds(40));
    return op.bytes;
  });
  // Four tiles of six operations each are waited for at the end.
  EXPECT_EQ(error_of([&] { turns.load(); }), std::nullopt);
  {
    auto run = turns.trainer.swapper.begin(turns.all);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(turns.commit_next(run));
  }
  for (const std::string& line : turns.log.lines())
    EXPECT_EQ(line.find("has not answered"), std::string::npos) << line;
  turns.expect_loaded();
}

}  // namespace
}  // namespace spillway
