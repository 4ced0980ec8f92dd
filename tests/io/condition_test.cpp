// Who waits for a callback is woken when the device has got what the callback submitted.

#include "io/condition.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "io/fake_engine.h"

namespace spillway::io {
namespace {

using namespace std::chrono_literals;

// Something that a callback brings about, and a thread that waits for it.
struct Event {
  std::mutex mutex;
  std::optional<Condition> changed;
  bool happened = false, awaited = false;

  explicit Event(Engine* engine) : changed(engine) {}
  void happen() {
    const std::lock_guard lock(mutex);
    happened = true;
    changed->notify_all();
  }
  // False: nobody woke it, even if it has happened.
  bool wait() {
    std::unique_lock lock(mutex);
    awaited = true;
    const TimePoint deadline = deadline_in(20);
    while (!happened)
      if (changed->wait_until(lock, deadline) == std::cv_status::timeout) return false;
    return true;
  }
  // Until somebody sleeps in wait().
  void await_waiter() {
    for (bool there = false; !there; std::this_thread::yield()) {
      const std::lock_guard lock(mutex);
      there = awaited;
    }
  }
};

// A read whose callback is a function object.
template <typename Work>
std::unique_ptr<Request> read_then(FakeEngine& fake, Work& work) {
  auto request = fake.read(0, 16 * KiB);
  request->callback = [](Request&, void* context) { (*static_cast<Work*>(context))(); };
  request->context = &work;
  return request;
}

TEST(ConditionTest, TheDeviceHasTheNextRequestBeforeAnybodyWakes) {
  FakeEngine fake;
  Event event(fake.engine.get());
  const auto next = fake.read(64 * KiB, 16 * KiB);
  auto work = [&] {
    event.happen();
    std::this_thread::sleep_for(50ms);  // as long as somebody who was woken could run
    fake.engine->submit(*next);
  };
  const auto first = read_then(fake, work);
  std::int64_t started = 0;
  std::thread waiter([&] {
    EXPECT_TRUE(event.wait());
    started = fake.device->started();
  });
  event.await_waiter();
  fake.engine->submit(*first);
  waiter.join();
  EXPECT_EQ(started, 2);
  fake.engine->wait(*next);
}

TEST(ConditionTest, WithNothingToSubmitTheyWakeAsWell) {
  FakeEngine fake;
  Event event(fake.engine.get());
  auto work = [&] { event.happen(); };
  const auto first = read_then(fake, work);
  fake.engine->submit(*first);
  EXPECT_TRUE(event.wait());
  fake.engine->wait(*first);
}

TEST(ConditionTest, OutsideACallbackTheyWakeAtOnce) {
  FakeEngine fake;
  for (Engine* engine : {fake.engine.get(), static_cast<Engine*>(nullptr)}) {
    Event event(engine);
    std::thread waiter([&] { EXPECT_TRUE(event.wait()); });
    event.happen();
    waiter.join();
  }
}

// Others go on to be woken, and nobody touches what is gone.
TEST(ConditionTest, MayGoWhileItIsPutOff) {
  FakeEngine fake;
  Event before(fake.engine.get()), goes(fake.engine.get()), after(fake.engine.get());
  std::atomic<bool> notified{false}, gone{false};
  auto work = [&] {
    for (Event* event : {&before, &goes, &goes, &after}) event->happen();
    notified = true;
    while (!gone) std::this_thread::yield();
  };
  const auto first = read_then(fake, work);
  fake.engine->submit(*first);
  while (!notified) std::this_thread::yield();
  goes.changed.reset();
  gone = true;
  EXPECT_TRUE(before.wait());
  EXPECT_TRUE(after.wait());
  fake.engine->wait(*first);
}

TEST(ConditionTest, MayGoAsSoonAsWhatItTellsHasHappened) {
  FakeEngine fake;
  for (int i = 0; i < 500; ++i) {
    auto event = std::make_unique<Event>(fake.engine.get());
    auto work = [&] { event->happen(); };
    const auto request = read_then(fake, work);
    fake.engine->submit(*request);
    EXPECT_TRUE(event->wait());
    fake.engine->wait(*request);  // the callback has left the event
    event.reset();
  }
}

TEST(ConditionTest, TheEndWakesThemToo) {
  FakeEngine fake;
  Event event(fake.engine.get());
  std::thread end;
  auto work = [&] {
    end = std::thread([&] { fake.engine->shutdown(20); });
    std::this_thread::sleep_for(10ms);
    event.happen();
  };
  const auto first = read_then(fake, work);
  fake.engine->submit(*first);
  EXPECT_TRUE(event.wait());
  fake.engine->wait(*first);
  end.join();
}

// Threads that come later may look like the I/O thread, which has ended.
TEST(ConditionTest, AfterTheEndTheyWakeAtOnce) {
  FakeEngine fake;
  fake.engine->shutdown(20);
  for (int i = 0; i < 4; ++i) {
    Event event(fake.engine.get());
    std::thread other([&] {
      event.await_waiter();
      event.happen();
    });
    EXPECT_TRUE(event.wait());
    other.join();
  }
}

}  // namespace
}  // namespace spillway::io
