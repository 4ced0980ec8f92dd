// Calls that meet a seal: add(), begin() and the writes that begin() tries again.

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <iostream>
#include <thread>

#include "support/captured_log.h"
#include "swap/contents.h"
#include "swap/fake_house.h"

namespace spillway {
namespace {

using namespace std::chrono_literals;
using io::FakeDevice;
using io::FakeOp;
using io::Op;
using test::error_of;
using test::Home;
using test::Trainer;

// A mutex that is let go and taken again at once is hardly ever got by who waits for it. Here it
// is: both threads have one processor, and the one that lets go gives way to whom it wakes.
void share_one_processor() {
  cpu_set_t all{}, one{};
  if (::sched_getaffinity(0, sizeof all, &all) != 0) return;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &all)) {
      CPU_SET(cpu, &one);
      break;
    }
  ::pthread_setaffinity_np(::pthread_self(), sizeof one, &one);
}

void give_way() {
  share_one_processor();
  const sched_param none{};
  ::pthread_setschedparam(::pthread_self(), SCHED_IDLE, &none);
}

class SealTest : public ::testing::TestWithParam<Home> {
 protected:
  void make(bool fast_init) {
    Config config = test::config_for(GetParam(), scratch.path());
    config.offload_optimizer.fast_init = fast_init;
    house = std::make_shared<test::FakeHouse>(config, device);
    context.emplace(test::context_in(house));
    trainer.emplace(*context, std::vector<std::int64_t>{9000, 4096}, false, 1);
  }
  ~SealTest() override {
    trainer.reset();
    context.reset();
  }
  // Another thread comes with `call` in the middle of the next seal, and waits for the mutex.
  void meet_the_seal(std::function<void()> call) {
    const auto go = std::make_shared<std::promise<void>>();
    house->on_admit = [go] {
      go->set_value();
      std::this_thread::sleep_for(20ms);
    };
    other = std::thread([go, call = std::move(call)] {
      share_one_processor();
      go->get_future().wait();
      call();
    });
  }
  // Adds to the first unit as soon as no pass is open.
  void add(std::int64_t elements) {
    const std::uint64_t tag = trainer->twin.params.size() + 1;
    std::optional<Errc> code;
    do {
      code = error_of(
          [&] { trainer->ids.push_back(trainer->swapper.add("late", elements, {.tag = tag})); });
      EXPECT_TRUE(!code || code == Errc::busy);
      std::this_thread::yield();
    } while (code == Errc::busy);
    trainer->twin.add(tag, elements);
  }
  void step_back_unit(std::int64_t n) {
    auto run = trainer->swapper.begin({.step = n, .units = {trainer->units[1]}});
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) test::update(slice, n);
      tile->commit();
    }
  }
  // One tile is committed and could not be written.
  void leave_a_failed_write() {
    trainer->load();
    device->plan(
        [](const FakeOp& op) -> std::int64_t { return op.op == Op::write ? -EIO : op.bytes; });
    EXPECT_EQ(error_of([&] { step_back_unit(1); }), Errc::io_error);
  }

  CapturedLog log;
  test::Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(4 * 1024 * 1024);
  std::shared_ptr<test::FakeHouse> house;
  std::optional<Context> context;
  std::optional<Trainer> trainer;
  std::thread other;
};

// What is added while first values are written is no part of that pass: it has no memory yet, and
// what is reserved for it may still change.
TEST_P(SealTest, WhatIsAddedMeanwhileHasItsFirstValuesWrittenByTheNextOne) {
  make(false);
  meet_the_seal([this] { add(5000); });
  std::thread sealer([this] {
    give_way();
    trainer->swapper.seal();
  });
  sealer.join();
  other.join();
  for (const ParamId id : trainer->ids)
    EXPECT_EQ(test::read(trainer->swapper, id, "m"),
              std::vector<float>(static_cast<std::size_t>(trainer->swapper.elements(id))));
  trainer->load();
  trainer->step(1);
  trainer->twin.step(1);
  trainer->expect_equal("after a step");
}

// The pass that writes first values is nobody's run. A begin() that waits for the write of an
// earlier pass does not find it in its way when others have added and sealed before it goes on.
TEST_P(SealTest, ABeginThatWaitedIsNotBusyBecauseOfAnothersFirstValues) {
  if (GetParam().ratio < 1) return;  // nothing is written
  make(false);
  leave_a_failed_write();
  std::promise<void> writes;
  std::atomic<int> writes_seen{0};
  device->plan([&](const FakeOp& op) {
    if (op.op != Op::write) return op.bytes;
    const bool retried = writes_seen++ == 0;
    if (retried) writes.set_value();
    std::this_thread::sleep_for(retried ? 50ms : 5ms);  // meanwhile both come to wait
    return op.bytes;
  });
  other = std::thread([&] {
    share_one_processor();
    writes.get_future().wait();
    add(5000);
    trainer->swapper.seal();
  });
  // Keeps the processor from the begin() until first values are written.
  std::thread busy([&] {
    share_one_processor();
    while (writes_seen == 0) std::this_thread::sleep_for(1ms);
    while (writes_seen <= 3) std::this_thread::yield();  // the sections of one tile
  });
  std::thread stepper([&] {
    give_way();
    EXPECT_EQ(error_of([&] { step_back_unit(1); }), std::nullopt);
  });
  stepper.join();
  other.join();
  busy.join();
  device->plan({});
}

// begin() tries failed writes again only once all is sealed: a seal holds the mutex while it asks
// the I/O thread for space, and that one needs it to end a write.
TEST_P(SealTest, AWriteThatIsTriedAgainDoesNotMeetASeal) {
  if (GetParam().ratio < 1) return;  // no disk, no space to ask for
  make(true);
  leave_a_failed_write();
  // The write is with the device until the other thread has begun its seal, if it comes to that.
  std::promise<void> writes, seals;
  std::shared_future<void> writing = writes.get_future().share();
  std::shared_future<void> sealing = seals.get_future().share();
  std::atomic<bool> first{true};
  device->plan([&, sealing](const FakeOp& op) {
    if (op.op == Op::write && first.exchange(false)) {
      writes.set_value();
      sealing.wait_for(500ms);
      std::this_thread::sleep_for(50ms);
    }
    return op.bytes;
  });
  add(5000);
  meet_the_seal([&] {
    add(700);
    writing.wait();
    seals.set_value();
    trainer->swapper.seal();
  });
  std::promise<void> ended;
  std::thread both([&] {
    give_way();
    step_back_unit(1);
    other.join();
    ended.set_value();
  });
  if (ended.get_future().wait_for(120s) != std::future_status::ready) {
    std::cerr << "begin() and seal() wait for each other\n";
    std::abort();
  }
  both.join();
  device->plan({});
}

INSTANTIATE_TEST_SUITE_P(All, SealTest, ::testing::Values(Home{.ratio = 0}, Home{.ratio = 1}),
                         test::home_name);

}  // namespace
}  // namespace spillway
