// Random requests against a device that does everything a device may do, compared with a copy of
// what the disk must hold. The seed stands in every message; SPILLWAY_SEED repeats one run,
// SPILLWAY_ROUNDS makes it a long one.

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "io/fake_engine.h"
#include "support/captured_log.h"

namespace spillway::io {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Model {
 public:
  explicit Model(std::uint64_t seed)
      : random_(seed),
        options_(random_options()),
        fake_(options_, disk_bytes),
        disk_(static_cast<std::size_t>(disk_bytes)) {
    fake_.device->shuffle(static_cast<unsigned>(seed) | 1u);
    fake_.device->keep_log(false);
    fake_.device->plan([this](const FakeOp& op) { return misbehave(op); });
    slots_.resize(24);
  }

  void run(int steps) {
    if (chance(4)) fake_.device->lose_after(pick(1, 200), ENOSYS);
    for (int i = 0; i < steps; ++i) {
      Slot& slot = slots_[static_cast<std::size_t>(pick(0, 23))];
      if (slot.request == nullptr) {
        start(slot);
      } else if (chance(3)) {
        if (fake_.engine->cancel(*slot.request)) end(slot);
      } else if (chance(3)) {
        fake_.engine->promote(*slot.request);
      } else if (fake_.engine->poll(*slot.request) || chance(4)) {
        fake_.engine->wait(*slot.request);
        end(slot);
      }
    }
    for (Slot& slot : slots_) {
      if (slot.request == nullptr) continue;
      fake_.engine->wait(*slot.request);
      end(slot);
    }
    EXPECT_LE(fake_.device->peak_in_flight(), options_.queue_depth);
    for (const Op op : {Op::read, Op::write}) {
      const std::int64_t budget = op == Op::read ? options_.read_budget : options_.write_budget;
      EXPECT_LE(fake_.device->peak_bytes(op), std::max(budget, options_.block_size));
    }
    EXPECT_TRUE(fake_.engine->shutdown(20).clean);
    EXPECT_EQ(fake_.device->in_flight(), 0);
    // Behind the engine's back: every byte that a good write moved, and no other.
    for (std::int64_t page = 0; page < disk_bytes / page_bytes; ++page) {
      if (torn_.contains(page)) continue;
      ASSERT_EQ(std::memcmp(fake_.device->memory().data() + page * page_bytes,
                            disk_.data() + page * page_bytes, page_bytes),
                0)
          << "page " << page;
    }
  }

 private:
  static constexpr std::int64_t disk_bytes = MiB;
  struct Slot {
    std::unique_ptr<Request> request;
    std::vector<std::byte> written;
  };

  std::int64_t pick(std::int64_t from, std::int64_t to) {
    return std::uniform_int_distribution<std::int64_t>(from, to)(random_);
  }
  bool chance(int one_in) { return pick(1, one_in) == 1; }

  EngineOptions random_options() {
    return {.block_size = pick(1, 5) * 4 * KiB,
            .queue_depth = pick(1, 9),
            .read_budget = pick(1, 20) * 4 * KiB,
            .write_budget = pick(1, 20) * 4 * KiB,
            .retry_seconds = 1000};
  }

  // On the I/O thread, from a generator of its own.
  std::int64_t misbehave(const FakeOp& op) {
    const auto dice = trouble_() % 20;
    if (dice == 0) return -EINTR;
    if (dice == 1) return -EAGAIN;
    if (dice == 2 || dice == 3) return static_cast<std::int64_t>(trouble_()) % (op.bytes + 1);
    if (dice == 4 && trouble_() % 8 == 0) return -EIO;
    return op.bytes;
  }

  void start(Slot& slot) {
    const std::int64_t pages = pick(1, 12);
    const std::int64_t first = pick(0, disk_bytes / page_bytes - pages);
    for (std::int64_t page = first; page < first + pages; ++page)
      if (busy_.contains(page)) return;  // two at one place have no defined result
    for (std::int64_t page = first; page < first + pages; ++page) busy_.insert(page);
    const Op op = chance(2) ? Op::read : Op::write;
    const auto service = static_cast<Service>(pick(0, 2));
    slot.request = fake_.request(op, service, first * page_bytes, pages * page_bytes);
    if (op == Op::write) paint(slot.request->data, slot.request->bytes, random_());
    slot.written.assign(slot.request->data, slot.request->data + slot.request->bytes);
    fake_.engine->submit(*slot.request);
  }

  void end(Slot& slot) {
    const Request& request = *slot.request;
    const Outcome& outcome = request.outcome();
    ASSERT_EQ(request.state(), RequestState::done);
    const std::int64_t first = request.offset / page_bytes;
    const std::int64_t pages = request.bytes / page_bytes;
    if (outcome.error == 0) {
      EXPECT_EQ(outcome.done, request.bytes);
    } else {
      EXPECT_LT(outcome.done, request.bytes);
      EXPECT_EQ(outcome.done % page_bytes, 0);
      EXPECT_TRUE(outcome.error == EIO || outcome.cancelled);
    }
    for (std::int64_t page = 0; page < pages; ++page) {
      std::byte* const on_disk = disk_.data() + (first + page) * page_bytes;
      const bool moved = (page + 1) * page_bytes <= outcome.done;
      if (request.op == Op::write && moved) {
        std::memcpy(on_disk, slot.written.data() + page * page_bytes, page_bytes);
        torn_.erase(first + page);
      } else if (request.op == Op::write && !outcome.cancelled) {
        torn_.insert(first + page);  // may be old, new or a mixture
      } else if (moved && !torn_.contains(first + page)) {
        EXPECT_EQ(std::memcmp(request.data + page * page_bytes, on_disk, page_bytes), 0);
      }
      busy_.erase(first + page);
    }
    slot.request.reset();
  }

  std::mt19937_64 random_;
  std::mt19937 trouble_{static_cast<unsigned>(random_())};
  EngineOptions options_;
  FakeEngine fake_;
  std::vector<std::byte> disk_;
  std::set<std::int64_t> busy_, torn_;
  std::vector<Slot> slots_;
};

TEST(EngineModelTest, EveryByteIsWhereItShouldBe) {
  const std::uint64_t first = from_environment("SPILLWAY_SEED", std::random_device{}());
  const std::uint64_t rounds = from_environment("SPILLWAY_ROUNDS", 30);
  const CapturedLog quiet;
  for (std::uint64_t i = 0; i < rounds && !HasFailure(); ++i) {
    SCOPED_TRACE("SPILLWAY_SEED=" + std::to_string(first + i) + " SPILLWAY_ROUNDS=1");
    Model(first + i).run(200);
  }
}

}  // namespace
}  // namespace spillway::io
