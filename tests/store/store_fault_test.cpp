#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "store/store_fixture.h"
#include "support/fake_backend.h"
#include "sys/limits.h"

namespace spillway::store {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// The store on a device that fails when it is told to.
class StoreFaultTest : public testing::Test {
 protected:
  StoreFaultTest() {
    io::EngineOptions options;
    options.retry_seconds = 0.1;
    options.block_size = 4096;
    engine = std::make_unique<io::Engine>(std::make_unique<io::FakeBackend>(device), options);
  }

  TempDir folder;
  std::shared_ptr<io::FakeDevice> device = std::make_shared<io::FakeDevice>(4 * MiB);
  std::unique_ptr<io::Engine> engine;
};

// One write of three sections, 6 pieces in all, of which one fails: whichever it is, every section
// is old, the store works on, and the next try is written to other slots.
TEST_F(StoreFaultTest, OldOrNewWhicheverPieceFails) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{8192, 8192, 8192}, 3, 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(write(store, at(first, i), 100));
  PageMemory buffer(3 * 8192);
  unsigned version = 101;
  for (int step = 0;; ++step) {
    const std::int64_t start = device->started();
    device->plan([start, step](const io::FakeOp& op) -> std::int64_t {
      return op.op == io::Op::write && op.number - start == step ? -EIO : op.bytes;
    });
    Mover mover(store, 3);
    for (int i = 0; i < 3; ++i) {
      std::byte* const data = buffer.data() + i * 8192;
      fill(data, 8192, version);
      mover.transfer().add_write(at(first, i), data, store.seal(at(first, i), data));
    }
    mover.submit(io::Service::write);
    ASSERT_TRUE(mover.wait());
    device->plan({});
    const bool ok = mover.transfer().ok();
    if (ok) {
      EXPECT_EQ(step, 6) << "pieces of the write";
    } else {
      EXPECT_EQ(mover.transfer().failed(), at(first, step / 2)) << "step " << step;
      EXPECT_EQ(mover.transfer().error().code(), Errc::io_error);
      EXPECT_THAT(mover.transfer().error().what(), HasSubstr(store.report()[0].directory));
      EXPECT_FALSE(mover.transfer().cancelled());
    }
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(reads(store, at(first, i), ok ? version : 100)) << "step " << step;
    }
    if (ok) break;
    ++version;
  }
}

// Seals that come while the bytes are written: the transfer waits for the last of them, whichever
// comes last, and the call that brings it may be its end.
TEST_F(StoreFaultTest, AnUnsealedWriteEndsWithItsLastSeal) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{8192, 5000}, 2, 1);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(write(store, at(first, i), 1));
  PageMemory buffer(2 * 8192);
  for (const bool device_first : {true, false}) {
    const unsigned version = device_first ? 7 : 8;
    std::memset(buffer.data(), 0x5a, static_cast<std::size_t>(buffer.bytes()));
    Mover mover(store, 2);
    std::uint64_t seals[2] = {};
    for (int i = 0; i < 2; ++i) {
      std::byte* const data = buffer.data() + i * 8192;
      fill(data, store.payload_bytes(at(first, i)), version);
      store.clear_padding(at(first, i), data);
      mover.transfer().add_unsealed_write(at(first, i), data);
      seals[i] = store.checksum_of(at(first, i), data);
    }
    const std::int64_t started = device->started();
    device->hold();
    mover.submit(io::Service::write);
    if (device_first) device->release();
    ASSERT_TRUE(device->wait_started(started + 4));
    mover.transfer().give_seal(first, seals[0]);
    EXPECT_TRUE(mover.transfer().in_flight()) << "one seal is missing";
    if (device_first) {
      EXPECT_TRUE(reads(store, first, 1)) << "old until the transfer has ended";
    }
    mover.transfer().give_seal(at(first, 1), seals[1]);
    if (!device_first) {
      EXPECT_TRUE(mover.transfer().in_flight()) << "the device has not answered";
      device->release();
    }
    ASSERT_TRUE(mover.wait());
    EXPECT_TRUE(mover.transfer().ok());
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(reads(store, at(first, i), version)) << i;
      EXPECT_EQ(seals[i], store.seal(at(first, i), buffer.data() + i * 8192));
    }
    EXPECT_TRUE(std::all_of(buffer.data() + 8192 + 5000, buffer.data() + 2 * 8192,
                            [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST_F(StoreFaultTest, AnUnsealedWriteThatFailsLeavesWhatWasThere) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{8192}, 1, 1);
  ASSERT_TRUE(write(store, id, 1));
  device->plan([](const io::FakeOp& op) -> std::int64_t {
    return op.op == io::Op::write ? -EIO : op.bytes;
  });
  PageMemory buffer(8192);
  fill(buffer.data(), 8192, 2);
  Mover mover(store, 1);
  mover.transfer().add_unsealed_write(id, buffer.data());
  mover.submit(io::Service::write);
  mover.transfer().give_seal(id, store.checksum_of(id, buffer.data()));
  ASSERT_TRUE(mover.wait());
  EXPECT_EQ(mover.transfer().error().code(), Errc::io_error);
  device->plan({});
  EXPECT_TRUE(reads(store, id, 1));
  EXPECT_TRUE(write(store, id, 3)) << "its slot was given back";
}

// A section whose bytes are there is compared while the others of its transfer are on their way.
TEST_F(StoreFaultTest, SectionsAreComparedAsTheyArrive) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{4096, 4096, 4096}, 3, 1);
  device->keep_log(true);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(write(store, at(first, i), 20));
  // The second one cannot be read, the third is damaged.
  device->memory()[static_cast<std::size_t>(device->log().back().offset) + 17] ^= std::byte{1};
  const std::int64_t start = device->started();
  device->plan([start](const io::FakeOp& op) -> std::int64_t {
    return op.number - start == 1 ? -EIO : op.bytes;
  });
  PageMemory buffer(3 * 4096);
  Mover mover(store, 3);
  for (int i = 0; i < 3; ++i) mover.transfer().add_read(at(first, i), buffer.data() + i * 4096);
  EXPECT_FALSE(mover.transfer().has_arrived(first));
  mover.submit();
  ASSERT_TRUE(mover.wait());
  EXPECT_FALSE(mover.transfer().ok());
  EXPECT_TRUE(mover.transfer().has_arrived(first));
  EXPECT_FALSE(mover.transfer().has_arrived(at(first, 1)));
  EXPECT_TRUE(mover.transfer().has_arrived(at(first, 2)));
  EXPECT_TRUE(mover.transfer().matches(first, buffer.data()));
  EXPECT_FALSE(mover.transfer().matches(at(first, 2), buffer.data() + 2 * 4096));
}

TEST_F(StoreFaultTest, ARetryGoesElsewhere) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes(8, 4096), 1, 1);
  std::set<std::int64_t> bad;
  device->plan([&bad](const io::FakeOp& op) -> std::int64_t {
    if (op.op == io::Op::write && bad.size() < 3) bad.insert(op.offset);
    return bad.contains(op.offset) ? -EIO : op.bytes;  // those pages are broken for good
  });
  int tries = 1;
  while (!write(store, id, 5)) ASSERT_LT(++tries, 10);
  EXPECT_EQ(bad.size(), 3u);
  EXPECT_EQ(tries, 4);
  EXPECT_TRUE(reads(store, id, 5));
}

TEST_F(StoreFaultTest, AFailedReadLeavesTheSectionAsItWas) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{8192}, 1, 0);
  ASSERT_TRUE(write(store, id, 1));
  device->plan(
      [](const io::FakeOp& op) -> std::int64_t { return op.op == io::Op::read ? -EIO : op.bytes; });
  EXPECT_FALSE(reads(store, id, 1));
  device->plan({});
  EXPECT_TRUE(reads(store, id, 1));
  EXPECT_TRUE(write(store, id, 2)) << "no pin was left on a slot";
  EXPECT_TRUE(write(store, id, 3));
  EXPECT_TRUE(reads(store, id, 3));
}

TEST_F(StoreFaultTest, ADeviceThatSwapsPagesIsCorrupt) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{8192}, 1, 0);
  ASSERT_TRUE(write(store, id, 1));
  std::vector<std::byte>& disk = device->memory();
  std::swap_ranges(disk.begin(), disk.begin() + 4096, disk.begin() + 4096);
  EXPECT_THAT(reads(store, id, 1).message(), HasSubstr("not what was written"));
}

// A read that the device is slow with keeps its slot; the section, alone of its size, is written
// once, and again, meanwhile.
TEST_F(StoreFaultTest, ASlowReadLeavesASpareToTheNextWrite) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{4096}, 1, 1);
  ASSERT_TRUE(write(store, id, 1));
  PageMemory buffer(3 * 4096);
  std::vector<std::unique_ptr<Mover>> movers;
  const auto add_write = [&](std::uint64_t version) {
    std::byte* const data = buffer.data() + (version - 1) * 4096;
    fill(data, 4096, version);
    auto mover = std::make_unique<Mover>(store, 1);
    mover->transfer().add_write(id, data, store.seal(id, data));
    mover->submit(io::Service::write);
    movers.push_back(std::move(mover));
  };
  const std::int64_t started = device->started();
  device->hold();
  add_write(2);
  ASSERT_TRUE(device->wait_started(started + 1));
  Mover slow(store, 1);
  slow.transfer().add_read(id, buffer.data());
  slow.submit();
  ASSERT_TRUE(device->wait_started(started + 2));
  device->release(1);
  ASSERT_TRUE(movers[0]->wait());
  ASSERT_TRUE(slow.transfer().in_flight());
  EXPECT_NO_THROW(add_write(3));
  device->release();
  ASSERT_TRUE(slow.wait());
  ASSERT_TRUE(movers.back()->wait());
  EXPECT_TRUE(slow.transfer().ok());
  EXPECT_TRUE(holds(buffer.data(), 4096, 1));
  EXPECT_TRUE(reads(store, id, 3));
}

TEST_F(StoreFaultTest, MoreWritesThanSparesAreBusy) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes(4, 4096), 1, 1);  // 2 spares
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(write(store, at(first, i), 1));
  device->hold();
  PageMemory buffer(4 * 4096);
  std::vector<std::unique_ptr<Mover>> movers;
  for (int i = 0; i < 2; ++i) {
    std::byte* const data = buffer.data() + i * 4096;
    fill(data, 4096, 2);
    movers.push_back(std::make_unique<Mover>(store, 2));
    movers.back()->transfer().add_write(at(first, i), data, store.seal(at(first, i), data));
    movers.back()->submit(io::Service::write);
  }
  Mover third(store, 2);
  PageMemory read(4096);
  third.transfer().add_read(at(first, 3), read.data());
  std::byte* const data = buffer.data() + 2 * 4096;
  fill(data, 4096, 2);
  third.transfer().add_write(at(first, 2), data, store.seal(at(first, 2), data));
  EXPECT_EQ(error_from([&] { third.submit(); }).code(), Errc::busy);
  EXPECT_FALSE(third.transfer().in_flight());
  device->release();
  for (auto& mover : movers) {
    ASSERT_TRUE(mover->wait());
    EXPECT_TRUE(mover->transfer().ok());
  }
  third.submit();
  ASSERT_TRUE(third.wait());
  EXPECT_TRUE(third.transfer().ok());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(reads(store, at(first, i), 2));
}

TEST_F(StoreFaultTest, WhatIsQueuedCanBeTakenBack) {
  io::EngineOptions narrow;
  narrow.queue_depth = 1;
  const auto slow = std::make_unique<io::Engine>(std::make_unique<io::FakeBackend>(device), narrow);
  Store store(*slow, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{4096, 4096}, 1, 1);
  ASSERT_TRUE(write(store, first, 1));
  ASSERT_TRUE(write(store, at(first, 1), 2));
  device->hold();
  PageMemory a(4096), b(4096);
  Mover running(store, 1), queued(store, 1);
  const std::int64_t started = device->started();
  running.transfer().add_read(first, a.data());
  running.submit(io::Service::prefetch);
  ASSERT_TRUE(device->wait_started(started + 1));
  queued.transfer().add_read(at(first, 1), b.data());
  queued.submit(io::Service::prefetch);
  EXPECT_FALSE(running.transfer().cancel());
  EXPECT_TRUE(queued.transfer().cancel());
  ASSERT_TRUE(queued.wait());
  EXPECT_TRUE(queued.transfer().cancelled());
  EXPECT_FALSE(queued.transfer().ok());
  EXPECT_EQ(queued.transfer().failed(), no_section);
  EXPECT_EQ(queued.transfer().error().code(), Errc::cancelled);
  device->release();
  ASSERT_TRUE(running.wait());
  EXPECT_TRUE(running.transfer().ok());
  EXPECT_TRUE(write(store, at(first, 1), 3)) << "no pin was left";
  EXPECT_TRUE(write(store, at(first, 1), 4));
  EXPECT_TRUE(reads(store, at(first, 1), 4));
}

// Three requests, of which the first is under way: the cancel is refused, and what it had taken
// back goes on.
TEST_F(StoreFaultTest, ARefusedCancelChangesNothing) {
  io::EngineOptions narrow;
  narrow.queue_depth = 1;
  const auto slow = std::make_unique<io::Engine>(std::make_unique<io::FakeBackend>(device), narrow);
  Store store(*slow, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{4096, 4096, 4096}, 3, 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(write(store, at(first, i), static_cast<unsigned>(i)));
  device->hold();
  const std::int64_t started = device->started();
  PageMemory buffer(3 * 4096);
  Mover mover(store, 3);
  for (int i = 0; i < 3; ++i) mover.transfer().add_read(at(first, i), buffer.data() + i * 4096);
  mover.submit(io::Service::prefetch);
  ASSERT_TRUE(device->wait_started(started + 1));
  EXPECT_FALSE(mover.transfer().cancel());
  mover.transfer().promote();
  device->release();
  ASSERT_TRUE(mover.wait());
  ASSERT_TRUE(mover.transfer().ok());
  for (int i = 0; i < 3; ++i) {
    mover.transfer().verify(at(first, i), buffer.data() + i * 4096);
    EXPECT_TRUE(holds(buffer.data() + i * 4096, 4096, static_cast<unsigned>(i)));
  }
}

TEST_F(StoreFaultTest, CancelRacesWithCompletion) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{16384, 16384}, 2, 1);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(write(store, at(first, i), 1));
  PageMemory buffer(2 * 16384);
  Mover mover(store, 2);
  int cancelled = 0;
  for (int round = 0; round < 300; ++round) {
    mover.transfer().clear();
    for (int i = 0; i < 2; ++i) mover.transfer().add_read(at(first, i), buffer.data() + i * 16384);
    mover.submit(io::Service::prefetch);
    if (round % 3 == 0) std::this_thread::yield();
    const bool taken = mover.transfer().cancel();
    ASSERT_TRUE(mover.wait());
    ASSERT_EQ(mover.transfer().cancelled(), taken);
    ASSERT_EQ(mover.transfer().ok(), !taken);
    cancelled += taken ? 1 : 0;
  }
  EXPECT_TRUE(write(store, first, 9));
}

TEST_F(StoreFaultTest, AShutDownEngineFailsCleanly) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{4096}, 1, 1);
  ASSERT_TRUE(write(store, id, 1));
  EXPECT_TRUE(engine->shutdown(10).clean);
  PageMemory buffer(4096);
  Mover mover(store, 1);
  mover.transfer().add_read(id, buffer.data());
  EXPECT_EQ(error_from([&] { mover.submit(); }).code(), Errc::shut_down);
  EXPECT_FALSE(mover.transfer().in_flight());
  EXPECT_EQ(error_from([&] { store.reserve(Sizes{MiB}, 1, 1); }).code(), Errc::shut_down);
  store.release(id, 1);  // the space goes with the file
}

// A dead device: the engine gives its requests up, and the store its file, without a crash; the
// name under nvme_path goes all the same.
TEST_F(StoreFaultTest, AnAbandonedTransferLeavesNoName) {
  auto* const store = new Store(*engine, options_for({folder.path()}));
  const SectionId id = store->reserve(Sizes{4096}, 1, 1);
  // Kept for ever, as the contract asks.
  static std::vector<void*>& kept = *new std::vector<void*>;
  auto* const buffer = new PageMemory(4096);
  auto* const mover = new Mover(*store, 1);
  kept = {buffer, mover};
  mover->transfer().add_write(id, buffer->data(), store->seal(id, buffer->data()));
  device->hold();
  device->let_go(false);
  const std::int64_t started = device->started();
  mover->submit(io::Service::write);
  ASSERT_TRUE(device->wait_started(started + 1));
  ASSERT_FALSE(engine->shutdown(0.05).clean);
  delete store;
  EXPECT_THAT(folder.names(), IsEmpty());
}

// Every descriptor that construction opens is refused once: nothing may be left, whichever it is.
TEST(StoreConstructionTest, LeavesNothingWhicheverDescriptorIsRefused) {
  TempDir folder;
  const auto a = folder.folder("a"), b = folder.folder("b");
  const auto engine = open_engine();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // The limit counts the highest number, so the gaps below are filled first.
  std::vector<int> fillers;
  const int open_now = sys::open_descriptors();
  int next = ::dup(0);
  while (next >= 0 && next < open_now) {
    fillers.push_back(next);
    next = ::dup(0);
  }
  fillers.push_back(next);
  // UBSan looks at the type of an object through a pipe, and calls it wrong when it gets none. Once
  // it has seen an Error it does not look again.
  try {
    throw Error(Errc::busy, "seen");
  } catch (const Error& error) {
    ASSERT_EQ(error.code(), Errc::busy);
  }
  int steps = 0;
  for (;; ++steps) {
    const rlimit tight{static_cast<rlim_t>(next + 1 + steps), before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    std::optional<Errc> code;
    std::string text;
    try {
      Store store(*engine, options_for({a, b}));
    } catch (const Error& error) {
      code = error.code();
      text = error.what();
    }
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_THAT(TempDir::names_in(a), IsEmpty()) << "step " << steps;
    EXPECT_THAT(TempDir::names_in(b), IsEmpty()) << "step " << steps;
    if (!code) break;
    EXPECT_EQ(*code, Errc::io_error) << text;
    EXPECT_THAT(text, HasSubstr("EMFILE"));
    ASSERT_LT(steps, 50);
  }
  EXPECT_GE(steps, 6) << "path, directory and file, twice";
  for (const int fd : fillers) ::close(fd);
}

}  // namespace
}  // namespace spillway::store
