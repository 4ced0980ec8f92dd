// Parameters on a disk that fails: what cannot be read says which tensor and where; what cannot be
// written stays in memory, is served from there, and is written when the disk is well again.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>
#include <thread>

#include "swap/contents.h"
#include "swap/fake_house.h"
#include "swap/parameter_fixture.h"

namespace spillway::test {
namespace {

using io::FakeDevice;
using io::FakeOp;
using io::Op;

// Several blocks, one, a little more than one, and hardly any.
const std::vector<std::int64_t> sizes{20'000, 4096, 5000, 3};

// An overwrite that takes all of the pool and commits nothing: what lay there clean is gone.
void empty_pool(ParameterSwapper& swapper, std::int64_t bytes) {
  const ParamId all = swapper.add("all of the pool", bytes, DType::u8);
  { const Lease lease = swapper.fetch(all, Access::overwrite); }
  swapper.remove(all);
}

struct Rig {
  std::int64_t pool;
  Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(4 * 1024 * 1024);
  Context context;
  ParameterSwapper swapper;
  UnitId unit;
  std::vector<ParamId> ids;
  std::vector<std::int64_t> versions;

  explicit Rig(std::int64_t cap, std::int64_t count = 8)
      : pool(count * 64 * 1024),
        context(context_in(std::make_shared<FakeHouse>(config(scratch, cap, count), device))),
        swapper(context, {.name = "weights"}),
        unit(swapper.add_unit("layer")) {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      ids.push_back(
          swapper.add("w" + std::to_string(i), sizes[i], DType::f32, {.unit = unit, .tag = i}));
      versions.push_back(1);
      put(swapper, ids[i], i, 1);
    }
    on_disk();
  }
  static Config config(const Scratch& scratch, std::int64_t cap, std::int64_t count) {
    Config config = parameter_config(OffloadDevice::nvme, scratch.path(), count, 64 * 1024, cap);
    config.offload_optimizer.nvme_path = {scratch.path()};  // the house opens its store there
    return config;
  }
  /// Writes all of it and displaces what lies in the pool.
  void on_disk() {
    swapper.flush();
    empty_pool(swapper, pool);
  }
  void fail_at(std::int64_t n, int error, bool lasting, std::optional<Op> kind = std::nullopt) {
    const std::int64_t at = device->started() + n;
    device->plan([=](const FakeOp& op) -> std::int64_t {
      const bool hit = lasting ? op.number >= at : op.number == at;
      return hit && (!kind || op.op == *kind) ? -error : op.bytes;
    });
  }
  void mend() { device->plan({}); }
  void expect_all(const std::string& when) {
    const Lease all = swapper.fetch(unit);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto got = all.tensors()[i].as<const float>();
      EXPECT_EQ(std::vector<float>(got.begin(), got.end()), values(i, 0, sizes[i], versions[i]))
          << when << ": w" << i;
    }
  }
  /// On the device itself, where they lie one behind the other on pages.
  void expect_on_disk(const std::string& when) {
    swapper.flush();
    EXPECT_EQ(swapper.stats().unwritten_bytes, 0);
    std::int64_t at = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      std::vector<float> got(static_cast<std::size_t>(sizes[i]));
      std::memcpy(got.data(), device->memory().data() + at, got.size() * 4);
      EXPECT_EQ(got, values(i, 0, sizes[i], versions[i])) << when << ": w" << i;
      at += (sizes[i] * 4 + 4095) / 4096 * 4096;
    }
  }
};

void expect_words(const std::string& text, std::initializer_list<const char*> words) {
  for (const char* word : words)
    EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
}

class ParameterFaultTest : public ::testing::TestWithParam<std::int64_t> {};

INSTANTIATE_TEST_SUITE_P(Caps, ParameterFaultTest, ::testing::Values(0, 6000, 100'000),
                         [](const auto& one) { return "cap" + std::to_string(one.param); });

// A fetch of what was read ahead finds its checksums compared, and a wrong byte all the same.
TEST_P(ParameterFaultTest, WhatWasReadAheadIsCompared) {
  for (const bool damaged : {false, true}) {
    Rig rig(GetParam());
    rig.swapper.fetch(rig.unit);  // whatever of it the cache takes from here on
    rig.on_disk();
    const auto there = [&] {
      return std::none_of(rig.ids.begin(), rig.ids.end(), [&](ParamId id) {
        return rig.swapper.where(id) == Residence::store ||
               rig.swapper.where(id) == Residence::coming;
      });
    };
    if (there()) {
      EXPECT_EQ(GetParam(), 100'000) << "all of it is cached";
      continue;
    }
    if (damaged) rig.device->memory()[100] ^= std::byte{1};
    EXPECT_EQ(rig.swapper.prefetch(std::span(&rig.unit, 1)), 1);
    while (!there()) std::this_thread::yield();
    const double seconds = rig.swapper.stats().checksum_seconds;
    std::string text;
    const auto code = error_of([&] { rig.swapper.fetch(rig.unit); }, &text);
    if (damaged) {
      EXPECT_EQ(code, Errc::corrupt);
      expect_words(text, {"w0", "checksum"});
    } else {
      EXPECT_FALSE(code) << text;
      EXPECT_EQ(rig.swapper.stats().checksum_seconds, seconds) << "the engine's thread did it";
    }
  }
}

// 300 KB, read in pieces of 64 KiB, with a hole that was never written.
struct LargeRig {
  static constexpr std::int64_t elements = 75'000, hole = 40'960, behind = 57'344;
  std::int64_t cap;
  Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(4 * 1024 * 1024);
  Context context;
  ParameterSwapper swapper;
  ParamId large;
  std::vector<float> expected = values(1, 0, elements, 1);

  explicit LargeRig(std::int64_t max_in_cpu)
      : cap(max_in_cpu),
        context(context_in(std::make_shared<FakeHouse>(Rig::config(scratch, cap, 8), device))),
        swapper(context, {.name = "weights"}),
        large(swapper.add("large", elements, DType::f32, {.tag = 1})) {
    put(swapper, large, 1, 1, {0, hole});
    put(swapper, large, 1, 1, {behind, elements - behind});
    swapper.flush();
    std::fill(expected.begin() + hole, expected.begin() + behind, 0.0f);
  }
  /// From the pool and from the cache.
  void displace() {
    empty_pool(swapper, 8 * 64 * 1024);
    const ParamId cached = swapper.add("cached", std::max<std::int64_t>(1, cap), DType::u8);
    { const Lease all = swapper.fetch(cached); }
    swapper.remove(cached);
    ASSERT_EQ(swapper.where(large), Residence::store);
  }
};

// Whichever piece is wrong, and whoever compares it, it is seen.
TEST_P(ParameterFaultTest, EachPieceOfALargeOneIsCompared) {
  LargeRig rig(GetParam());
  ParameterSwapper& swapper = rig.swapper;
  for (const Access access : {Access::read, Access::update})
    for (const bool ahead : {false, true}) {
      for (std::int64_t at = -1; at < LargeRig::elements; at += 8192) {
        SCOPED_TRACE(testing::Message() << "damaged at " << at << ", ahead " << ahead);
        ASSERT_NO_FATAL_FAILURE(rig.displace());
        std::byte* const byte = at < 0 ? nullptr : rig.device->memory().data() + at * 4;
        if (byte != nullptr) *byte ^= std::byte{1};
        if (ahead) {
          EXPECT_EQ(swapper.prefetch(rig.large), 1);
        }
        std::string text;
        const auto code = error_of(
            [&] { EXPECT_EQ(copy_of(swapper.fetch(rig.large, access)), rig.expected); }, &text);
        const bool seen = at >= 0 && (at < LargeRig::hole || at >= LargeRig::behind);
        EXPECT_EQ(code, seen ? std::optional(Errc::corrupt) : std::nullopt) << text;
        if (seen) expect_words(text, {"large", "checksum"});
        if (byte != nullptr) *byte ^= std::byte{1};
      }
    }
  EXPECT_GT(swapper.stats().checksum_seconds, 0);
}

// One piece has failed and others are coming: what is asked for then is not begun beside them.
TEST_P(ParameterFaultTest, EachPieceOfALargeOneFails) {
  LargeRig rig(2 * GetParam());  // twice, if at all
  for (std::int64_t n = 0; n < 5; ++n) {
    SCOPED_TRACE(n);
    ASSERT_NO_FATAL_FAILURE(rig.displace());
    const std::int64_t first = rig.device->started();
    rig.device->plan([failing = first + n, at = std::int64_t{-1}](const FakeOp& op) mutable {
      if (op.number == failing) at = op.offset;
      return op.offset == at ? -EIO : op.bytes;  // when it is tried again, too
    });
    rig.device->hold();
    EXPECT_EQ(rig.swapper.prefetch(rig.large), 1);
    ASSERT_TRUE(rig.device->wait_started(first + 5));
    rig.device->release(n + 1);  // up to the one that fails
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      rig.swapper.prefetch(rig.large);
    }
    rig.device->release();
    rig.device->plan({});
    EXPECT_EQ(copy_of(rig.swapper.fetch(rig.large)), rig.expected);
  }
}

TEST_P(ParameterFaultTest, EachReadOfAUnitFailsOnce) {
  for (std::int64_t n = 0;; ++n) {
    SCOPED_TRACE("read " + std::to_string(n));
    Rig rig(GetParam());
    const std::int64_t before = rig.device->started();
    rig.fail_at(n, EIO, false);
    std::string text;
    const auto code = error_of([&] { rig.swapper.fetch(rig.unit); }, &text);
    if (rig.device->started() <= before + n) {
      EXPECT_FALSE(code);
      EXPECT_GT(n, 0);
      break;
    }
    EXPECT_EQ(code, Errc::io_error);
    expect_words(text, {"weights", "\"w", "cannot be read", "offset", "spillway"});
    rig.expect_all("fetched again");
    EXPECT_EQ(rig.swapper.stats().unwritten_bytes, 0);
  }
}

// A fetch that waits for what was being read ahead does not fail with it: it reads for itself.
TEST_P(ParameterFaultTest, AReadAheadThatFailsIsDoneAgainByTheFetchThatWaitsForIt) {
  for (const Access access : {Access::read, Access::update}) {
    Rig rig(GetParam());
    const std::int64_t begun = rig.device->started(), fetches = rig.swapper.stats().fetches;
    rig.fail_at(0, EIO, false, Op::read);
    rig.device->hold();
    ASSERT_EQ(rig.swapper.prefetch(rig.ids[0]), 1);
    ASSERT_TRUE(rig.device->wait_started(begun + 1));
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it has begun to wait
      rig.device->release();
    });
    {
      std::optional<Lease> lease;
      const auto code = error_of([&] { lease = rig.swapper.fetch(rig.ids[0], access); });
      later.join();
      ASSERT_FALSE(code);
      const auto got = lease->tensors()[0].as<const float>();
      EXPECT_EQ(std::vector<float>(got.begin(), got.end()), values(0, 0, sizes[0], 1));
    }
    EXPECT_EQ(rig.swapper.stats().fetches, fetches + 1);
    rig.mend();
    rig.expect_all("afterwards");
  }
}

TEST_P(ParameterFaultTest, ReadsFailForEverAndComeBack) {
  Rig rig(GetParam());
  rig.fail_at(0, EIO, true, Op::read);
  std::string text;
  for (int twice = 0; twice < 2; ++twice)
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      rig.swapper.prefetch(rig.ids[i]);
      for (const Access access : {Access::read, Access::update}) {
        EXPECT_EQ(error_of([&] { rig.swapper.fetch(rig.ids[i], access); }, &text), Errc::io_error);
        expect_words(text, {"\"w", "offset"});
      }
      EXPECT_FALSE(rig.swapper.try_fetch(rig.ids[i]).has_value());
    }
  put(rig.swapper, rig.ids[1], 1, 2);  // an overwrite reads nothing
  rig.versions[1] = 2;
  rig.mend();
  rig.expect_all("the disk is well again");
}

TEST_P(ParameterFaultTest, EachReadOfReadIntoFailsOnce) {
  for (const std::size_t skew : {std::size_t{0}, std::size_t{16}})  // straight, and through leases
    for (std::int64_t n = 0;; ++n) {
      SCOPED_TRACE("read " + std::to_string(n) + " skew " + std::to_string(skew));
      Rig rig(GetParam());
      const std::int64_t before = rig.device->started();
      std::vector<float> memory(20'000 + 2048, -7.0f);
      const auto page = reinterpret_cast<std::uintptr_t>(memory.data()) / 4096 * 4096 + 4096;
      const std::size_t first = (page - reinterpret_cast<std::uintptr_t>(memory.data())) / 4 + skew;
      const std::span<float> to = std::span(memory).subspan(first, 20'000);
      rig.fail_at(n, EIO, false);
      std::string text;
      const auto code = error_of([&] { rig.swapper.read_into(rig.ids[0], to).wait(); }, &text);
      if (rig.device->started() <= before + n) {
        EXPECT_FALSE(code);
        break;
      }
      EXPECT_EQ(code, Errc::io_error);
      expect_words(text, {"w0", "offset"});
      rig.swapper.read_into(rig.ids[0], to).wait();
      EXPECT_TRUE(std::equal(to.begin(), to.end(), values(0, 0, 20'000, 1).begin()));
      EXPECT_EQ(memory[first + 20'000], -7.0f) << "never past the span";
    }
}

// A write that fails is tried again; nobody notices.
TEST_P(ParameterFaultTest, EachWriteFailsOnce) {
  for (std::int64_t n = 0;; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    Rig rig(GetParam());
    rig.expect_all("before");  // into the cache, as far as it goes
    const std::int64_t before = rig.device->started();
    rig.fail_at(n, ENOSPC, false, Op::write);
    for (std::size_t i = 0; i < sizes.size(); ++i) put(rig.swapper, rig.ids[i], i, 2);
    rig.versions.assign(sizes.size(), 2);
    rig.swapper.flush();
    const bool over = rig.device->started() <= before + n;
    rig.mend();
    rig.expect_all("after the flush");
    rig.expect_on_disk("on the disk");
    if (over) break;
  }
}

// Nothing can be written for a while: flush() says so by name, twice; the bytes are served from
// memory, superseded by newer ones, and are all there in the end.
TEST_P(ParameterFaultTest, WritesFailForEverAndLoseNothing) {
  Rig rig(GetParam(), 16);
  rig.expect_all("before");
  rig.fail_at(0, ENOSPC, true, Op::write);
  for (std::int64_t version = 2; version <= 3; ++version) {
    for (std::size_t i = 0; i < sizes.size(); ++i) put(rig.swapper, rig.ids[i], i, version);
    rig.versions.assign(sizes.size(), version);
    std::string text;
    EXPECT_EQ(error_of([&] { rig.swapper.flush(); }, &text), Errc::no_space);
    expect_words(text, {"weights", "\"w", "cannot be written", "kept in memory", "offset"});
    EXPECT_GT(rig.swapper.stats().unwritten_bytes, 0);
    rig.expect_all("the disk is full");
    std::vector<float> got(5000);
    rig.swapper.read_into(rig.ids[2], std::span(got)).wait();
    EXPECT_EQ(got, values(2, 0, 5000, version));
  }
  rig.mend();
  rig.expect_on_disk("the disk is well again");
}

// A range of a cached tensor is dirty and cannot be written when it has to make room.
TEST_P(ParameterFaultTest, ARangeThatCannotBeWrittenStays) {
  Rig rig(GetParam(), 16);
  rig.expect_all("before");
  rig.fail_at(0, EIO, true, Op::write);
  put(rig.swapper, rig.ids[0], 0, 5, {4096, 8192});
  std::vector<float> expected = values(0, 0, 20'000, 1);
  fill(std::span(expected).subspan(4096, 8192), 0, 4096, 5);
  EXPECT_EQ(error_of([&] { rig.swapper.flush(); }), Errc::io_error);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 1; i < sizes.size(); ++i)
      EXPECT_FALSE(error_of([&] { rig.swapper.fetch(rig.ids[i]); }));
    EXPECT_EQ(copy_of(rig.swapper.fetch(rig.ids[0], Access::read, {4096, 8192})),
              values(0, 4096, 8192, 5));
  }
  rig.mend();
  rig.on_disk();
  EXPECT_EQ(copy_of(rig.swapper.fetch(rig.ids[0])), expected);
}

// While a write that failed is tried again, its copy still is the newest that there is.
TEST_P(ParameterFaultTest, WhatIsWrittenAgainIsServedMeanwhile) {
  Rig rig(GetParam());
  rig.expect_all("before");
  rig.fail_at(0, EIO, false, Op::write);
  rig.device->hold();
  const std::int64_t started = rig.device->started();
  put(rig.swapper, rig.ids[1], 1, ++rig.versions[1]);
  std::thread flush([&] { rig.swapper.flush(); });
  EXPECT_TRUE(rig.device->wait_started(started + 1));
  rig.device->release(1);
  EXPECT_TRUE(rig.device->wait_started(started + 2));
  const auto lease = rig.swapper.try_fetch(rig.ids[1], {0, sizes[1]});
  EXPECT_TRUE(lease.has_value());
  if (lease) {
    EXPECT_EQ(copy_of(*lease), values(1, 0, sizes[1], rig.versions[1]));
  }
  rig.device->release();
  flush.join();
  rig.expect_all("after");
  rig.expect_on_disk("on the disk");
}

// It waits beside the copy that is being written, and is not written itself meanwhile: two writes
// of the same blocks could end in either order.
TEST(ParameterWriteTest, WhatIsCommittedDuringAWriteIsNotWrittenBesideIt) {
  Rig rig(100'000);
  rig.expect_all("before");
  put(rig.swapper, rig.ids[1], 1, 2);
  rig.device->hold();
  const std::int64_t started = rig.device->started();
  std::thread first([&] { rig.swapper.flush(); });
  ASSERT_TRUE(rig.device->wait_started(started + 1));
  put(rig.swapper, rig.ids[1], 1, rig.versions[1] = 3);
  std::thread second([&] { rig.swapper.flush(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(rig.device->started(), started + 1);
  rig.device->release();
  first.join();
  second.join();
  rig.expect_all("after");
  rig.on_disk();
  EXPECT_EQ(rig.swapper.stats().unwritten_bytes, 0);
  rig.expect_on_disk("on the disk");
}

// All of it may take longer than the timeout, which is one of no progress.
TEST(ParameterWriteTest, AFlushMayTakeLongerThanOneWriteMay) {
  Rig rig(100'000);
  rig.expect_all("before");
  ParameterSwapper slow(rig.context, {.name = "slow", .timeout = 2});
  std::vector<ParamId> ids;
  for (std::uint64_t i = 0; i < 4; ++i)
    ids.push_back(slow.add("s" + std::to_string(i), 4096, DType::f32));
  slow.seal();
  rig.device->hold();
  for (std::uint64_t i = 0; i < 4; ++i) put(slow, ids[i], i, 1);
  EXPECT_EQ(slow.stats().unwritten_bytes, 4 * 4096 * 4) << "those on their way as well";
  std::thread device([&] {
    for (int i = 0; i < 4; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(700));
      rig.device->release(1);
    }
  });
  EXPECT_NO_THROW(slow.flush());
  device.join();
  rig.device->release();
  EXPECT_EQ(slow.stats().unwritten_bytes, 0);
}

// The device looks at the memory of a write until its end: what is committed meanwhile waits for
// that, but the commit does not.
TEST(ParameterWriteTest, ACommitLeavesAWriteAlone) {
  for (const bool fails : {false, true}) {
    SCOPED_TRACE(fails ? "the write fails once" : "the write succeeds");
    Rig rig(100'000);
    rig.expect_all("before");
    put(rig.swapper, rig.ids[0], 0, ++rig.versions[0]);
    if (fails) rig.fail_at(0, EIO, false, Op::write);
    Lease odd = rig.swapper.fetch(rig.ids[0], Access::overwrite, {8192 + 10, 20});
    rig.device->hold();
    const std::int64_t started = rig.device->started();
    std::thread flush([&] { rig.swapper.flush(); });
    ASSERT_TRUE(rig.device->wait_started(started + 1));
    const std::int64_t unwritten = rig.swapper.stats().unwritten_bytes;
    put(rig.swapper, rig.ids[0], 0, 5, {4096, 4096});  // returns, though nothing moves
    fill(odd.as<float>(), 0, 8192 + 10, 6);
    odd.commit();
    EXPECT_GT(rig.swapper.stats().unwritten_bytes, unwritten);
    EXPECT_FALSE(rig.swapper.try_fetch(rig.ids[0], {0, 10}));
    rig.device->release();
    flush.join();
    std::vector<float> expected = values(0, 0, 20'000, rig.versions[0]);
    fill(std::span(expected).subspan(4096, 4096), 0, 4096, 5);
    fill(std::span(expected).subspan(8192 + 10, 20), 0, 8192 + 10, 6);
    EXPECT_EQ(copy_of(rig.swapper.fetch(rig.ids[0])), expected);
    rig.mend();
    rig.on_disk();
    EXPECT_EQ(rig.swapper.stats().unwritten_bytes, 0);
    std::vector<float> got(expected.size());
    std::memcpy(got.data(), rig.device->memory().data(), got.size() * 4);
    EXPECT_EQ(got, expected);
  }
}

// A fetch that had found its parameter in the cache, and then had to wait for another one.
TEST(ParameterWriteTest, AFetchThatWaitsFindsWhatWasCommittedMeanwhile) {
  Rig rig(6000);
  const UnitId pair = rig.swapper.add_unit("pair");
  const ParamId large = rig.swapper.add("large one", 20'000, DType::f32, {.unit = pair});
  const ParamId small = rig.swapper.add("small one", 1000, DType::f32, {.unit = pair});
  put(rig.swapper, large, 8, 1);
  put(rig.swapper, small, 9, 1);
  rig.on_disk();
  rig.swapper.fetch(small);  // into the cache, which is too small for the other
  put(rig.swapper, small, 9, 2);
  ASSERT_EQ(rig.swapper.where(small), Residence::memory);
  ASSERT_EQ(rig.swapper.where(large), Residence::store);

  rig.device->hold();
  const std::int64_t started = rig.device->started();
  ASSERT_EQ(rig.swapper.prefetch(large), 1);
  ASSERT_TRUE(rig.device->wait_started(started + 1));
  std::thread flush([&] { rig.swapper.flush(); });
  EXPECT_TRUE(rig.device->wait_started(started + 2));
  std::vector<float> got;
  std::thread update([&] {
    const Lease lease = rig.swapper.fetch(pair, Access::update);
    const auto values_of_small = lease.tensors()[1].as<const float>();
    got.assign(values_of_small.begin(), values_of_small.end());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it waits for the large one
  put(rig.swapper, small, 9, 3);                               // while the last one is written
  rig.device->release(1);                                      // the large one comes
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  rig.device->release();
  update.join();
  flush.join();
  EXPECT_EQ(got, values(9, 0, 1000, 3));
  EXPECT_EQ(copy_of(rig.swapper.fetch(small)), values(9, 0, 1000, 3));
}

// A cached parameter that cannot be written can be given up.
TEST_P(ParameterFaultTest, WhatCannotBeWrittenCanBeRemoved) {
  Rig rig(GetParam());
  const ParamId extra = rig.swapper.add("extra", 100, DType::f32);
  put(rig.swapper, extra, 7, 1);
  rig.on_disk();
  rig.swapper.fetch(extra);  // into the cache, where there is one
  rig.fail_at(0, EIO, true, Op::write);
  put(rig.swapper, extra, 7, 2);
  EXPECT_EQ(error_of([&] { rig.swapper.flush(); }), Errc::io_error);
  rig.swapper.remove(extra);
  EXPECT_FALSE(error_of([&] { rig.swapper.flush(); }));
  rig.mend();
  rig.expect_all("after");
}

// What was committed while read_into() waited cannot be written, and is in memory.
TEST_P(ParameterFaultTest, ReadIntoIsServedWhatCannotBeWritten) {
  Rig rig(GetParam());
  Lease lease = rig.swapper.fetch(rig.ids[1], Access::overwrite);
  ASSERT_EQ(sizes[1], 4096);
  alignas(4096) std::array<float, 4096> to{};  // on a page, so that it is read straight
  std::thread reader(
      [&] { rig.swapper.read_into(rig.ids[1], std::as_writable_bytes(std::span(to))).wait(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  rig.fail_at(0, EIO, true, Op::write);
  fill(lease.as<float>(), 1, 0, ++rig.versions[1]);
  lease.commit();
  reader.join();
  EXPECT_EQ(std::vector<float>(to.begin(), to.end()), values(1, 0, sizes[1], rig.versions[1]));
  rig.mend();
  rig.expect_on_disk("after");
}

// Who waits for memory comes first; who waits for a lease meanwhile lets others pass, for they may
// hold it.
TEST(ParameterWaitTest, WhoHoldsTheLeaseIsServedBeforeWhoWaitsForIt) {
  Rig rig(100'000);
  rig.expect_all("before");
  const ParamId large = rig.swapper.add("large", rig.pool, DType::u8);
  std::optional<Lease> all = rig.swapper.fetch(large, Access::overwrite);
  std::thread update([&] { rig.swapper.fetch(rig.ids[1], Access::update); });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // it waits for memory
  Lease read = rig.swapper.fetch(rig.ids[1]);
  all.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // and now for this lease
  EXPECT_FALSE(error_of([&] { rig.swapper.fetch(rig.ids[2], Access::update); }));
  read = Lease();
  update.join();
}

// A fetch that waits for a lease learns that there is a fence to ask from now on.
TEST(ParameterWaitTest, AFenceThatComesLaterIsAskedByWhoWaits) {
  Rig rig(100'000);
  Lease read = rig.swapper.fetch(rig.ids[1]);
  std::thread update([&] { rig.swapper.fetch(rig.ids[1], Access::update); });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // it waits
  std::atomic<int> asked = 0;
  std::move(read).release_after([&] { return ++asked > 3; });
  update.join();
  EXPECT_EQ(asked, 4);
}

// What cannot be written holds the whole pool: whoever needs room learns why, and goes on when the
// disk is well again.
TEST(ParameterFaultPoolTest, AFullPoolOfUnwrittenBytesSaysWhy) {
  Rig rig(0, 8);
  const ParamId large = rig.swapper.add("large", 8 * 16 * 1024, DType::f32);
  rig.fail_at(0, ENOSPC, true, Op::write);
  put(rig.swapper, large, 9, 1);
  std::string text;
  EXPECT_EQ(error_of([&] { rig.swapper.fetch(rig.unit); }, &text), Errc::no_space);
  expect_words(text, {"\"large\"", "flush()"});
  EXPECT_EQ(rig.swapper.prefetch(rig.unit), 0);
  rig.mend();
  rig.expect_all("the disk is well again");
  EXPECT_EQ(copy_of(rig.swapper.fetch(large)), values(9, 0, 8 * 16 * 1024, 1));
}

// The same random calls again and again, and each time another operation of theirs fails. Errors
// are typed, change nothing by themselves, and in the end every committed byte is on the disk.
TEST_P(ParameterFaultTest, RandomCallsSurviveEachFailure) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (std::int64_t n = 0; !HasFailure(); ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    Rig rig(GetParam());
    std::mt19937 random(seed);
    const std::int64_t before = rig.device->started();
    rig.fail_at(n, n % 2 == 0 ? EIO : ENOSPC, false);
    for (int i = 0; i < 40; ++i) {
      const std::size_t p = random() % sizes.size();
      const auto what = random() % 6;
      const auto code = error_of([&] {
        switch (what) {
          case 0: {
            const Lease lease = rig.swapper.fetch(rig.ids[p]);
            ASSERT_EQ(copy_of(lease), values(p, 0, sizes[p], rig.versions[p]));
            break;
          }
          case 1: {
            Lease lease = rig.swapper.fetch(rig.ids[p], Access::update);
            ASSERT_EQ(copy_of(lease), values(p, 0, sizes[p], rig.versions[p]));
            fill(lease.as<float>(), p, 0, rig.versions[p] + 1);
            lease.commit();
            ++rig.versions[p];
            break;
          }
          case 2:
            put(rig.swapper, rig.ids[p], p, rig.versions[p] + 1);
            ++rig.versions[p];
            break;
          case 3: rig.swapper.prefetch(rig.unit); break;
          case 4: rig.swapper.flush(); break;
          default: rig.swapper.fetch(rig.unit); break;
        }
      });
      if (code) {
        EXPECT_TRUE(code == Errc::io_error || code == Errc::no_space);
      }
    }
    const bool over = rig.device->started() <= before + n;
    rig.mend();
    rig.expect_all("after the calls");
    rig.expect_on_disk("on the disk");
    if (over) break;
  }
}

}  // namespace
}  // namespace spillway::test
