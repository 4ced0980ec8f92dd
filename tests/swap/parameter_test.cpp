// The parameter swapper, call by call, on every device.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/twin.h"
#include "swap/parameter_fixture.h"
#include "sys/cuda_driver.h"
#include "sys/limits.h"

namespace spillway::test {
namespace {

class ParameterTest : public testing::TestWithParam<OffloadDevice> {
 protected:
  Config config(std::int64_t count = 4, std::int64_t size = 256 * 1024, std::int64_t cap = 0) {
    return parameter_config(GetParam(), scratch_.path(), count, size, cap);
  }
  bool nvme() const { return GetParam() == OffloadDevice::nvme; }
  Scratch scratch_;
};

INSTANTIATE_TEST_SUITE_P(Devices, ParameterTest,
                         testing::Values(OffloadDevice::none, OffloadDevice::cpu,
                                         OffloadDevice::nvme),
                         [](const auto& one) {
                           return std::string(one.param == OffloadDevice::none  ? "none"
                                              : one.param == OffloadDevice::cpu ? "cpu"
                                                                                : "nvme");
                         });

TEST_P(ParameterTest, WhatWasNeverWrittenIsZero) {
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  const Lease lease = swapper.fetch(id);
  EXPECT_EQ(copy_of(lease), std::vector<float>(10'000, 0.0f));
  EXPECT_EQ(swapper.stats().bytes_read, 0);
}

TEST_P(ParameterTest, GivesBackWhatWasCommitted) {
  Context context(config());
  ParameterSwapper swapper(context);
  for (const std::int64_t elements : {1, 4095, 4096, 4097, 100'000}) {
    const ParamId id = swapper.add("w", elements, DType::f32, {.tag = 7});
    put(swapper, id, 7, 1);
    swapper.flush();
    const Lease lease = swapper.fetch(id);
    ASSERT_EQ(lease.tensors().size(), 1u);
    EXPECT_EQ(lease.tensors()[0].tag, 7u);
    EXPECT_EQ(lease.tensors()[0].param, id);
    EXPECT_EQ(copy_of(lease), values(7, 0, elements, 1)) << elements;
  }
}

TEST_P(ParameterTest, InitIsThereAtOnceAndMayBeLargerThanTheBuffers) {
  Context context(config(2, 64 * 1024));
  ParameterSwapper swapper(context);
  const std::vector<float> first = values(3, 0, 20'000, 5);
  const ParamId id =
      swapper.add("w", 20'000, DType::f32, {.init = std::as_bytes(std::span(first))});
  EXPECT_EQ(copy_of(swapper.fetch(id, Access::read, {4096, 8192})), values(3, 4096, 8192, 5));
  std::vector<float> all(20'000);
  swapper.read_into(id, std::span(all)).wait();
  EXPECT_EQ(all, first);
}

TEST_P(ParameterTest, AParameterWithoutElementsIsLegal) {
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("nothing", 0, DType::bf16);
  for (const Access access : {Access::read, Access::update, Access::overwrite}) {
    Lease lease = swapper.fetch(id, access);
    EXPECT_EQ(lease.tensors()[0].count, 0);
    lease.commit();
  }
  swapper.read_into(id, std::span<std::byte>()).wait();
  EXPECT_EQ(swapper.prefetch(id), 1);
  swapper.remove(id);
}

TEST_P(ParameterTest, AnUpdateSeesTheOldBytesAndDroppedChangesNothing) {
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 9'000, DType::f32);
  put(swapper, id, 1, 1);
  {
    Lease dropped = swapper.fetch(id, Access::update);
    EXPECT_EQ(copy_of(dropped), values(1, 0, 9'000, 1));
    fill(dropped.as<float>(), 1, 0, 2);
  }
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 9'000, 1));
  {
    Lease kept = swapper.fetch(id, Access::update);
    fill(kept.as<float>(), 1, 0, 3);
    kept.commit();
  }
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 9'000, 3));
  { Lease dropped = swapper.fetch(id, Access::overwrite, {4096, 4096}); }
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 9'000, 3));
}

TEST_P(ParameterTest, RangesAreChangedEachByItself) {
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 50'000, DType::f32);
  put(swapper, id, 1, 1);
  std::vector<float> expected = values(1, 0, 50'000, 1);
  std::int64_t version = 1;
  for (const Range range :
       {Range{0, 4096}, Range{4096, 8192}, Range{45'056, 4'944}, Range{100, 50}, Range{4000, 200},
        Range{12'287, 20'002}, Range{49'999, 1}, Range{0, 50'000}}) {
    put(swapper, id, 1, ++version, range);
    for (std::int64_t i = 0; i < range.count; ++i)
      expected[static_cast<std::size_t>(range.offset + i)] = value_of(1, range.offset + i, version);
    ASSERT_EQ(copy_of(swapper.fetch(id)), expected) << range.offset << " + " << range.count;
    const Lease part = swapper.fetch(id, Access::read, range);
    ASSERT_EQ(copy_of(part), values(1, range.offset, range.count, version));
  }
}

TEST_P(ParameterTest, AUnitComesAndGoesAsOne) {
  Context context(config(4, 1024 * 1024));
  ParameterSwapper swapper(context);
  const UnitId unit = swapper.add_unit("layer.0");
  const UnitId empty = swapper.add_unit("layer.1");
  std::vector<ParamId> ids;
  for (std::uint64_t i = 0; i < 5; ++i)
    ids.push_back(swapper.add("p" + std::to_string(i), 3000 * static_cast<std::int64_t>(i) + 1,
                              DType::f32, {.unit = unit, .tag = i}));
  EXPECT_TRUE(swapper.fetch(empty).tensors().empty());
  {
    Lease all = swapper.fetch(unit, Access::overwrite);
    ASSERT_EQ(all.tensors().size(), 5u);
    for (const View& view : all.tensors()) fill(view.as<float>(), view.tag, 0, 1);
    all.commit();
  }
  swapper.flush();
  const Lease all = swapper.fetch(unit);
  for (std::size_t i = 0; i < 5; ++i) {
    const auto got = all.tensors()[i].as<const float>();
    EXPECT_EQ(std::vector<float>(got.begin(), got.end()), values(i, 0, all.tensors()[i].count, 1));
    EXPECT_EQ(all.tensors()[i].param, ids[i]);
  }
}

TEST_P(ParameterTest, ReadersShareAndWritersExcludeBlockByBlock) {
  Config settings = config();
  Context context(settings);
  ParameterSwapper swapper(context, {.timeout = 0.5});
  const ParamId id = swapper.add("the tensor", 50'000, DType::f32);
  put(swapper, id, 1, 1);
  const Lease one = swapper.fetch(id), two = swapper.fetch(id);
  std::string text;
  EXPECT_EQ(code_of([&] { swapper.fetch(id, Access::update, {0, 1}); }, &text), Errc::timeout);
  EXPECT_NE(text.find("the tensor"), std::string::npos) << text;
  EXPECT_NE(text.find("reading"), std::string::npos) << text;
  const Lease part = swapper.fetch(id, Access::read, {8192, 100});
  {
    Lease moved = std::move(const_cast<Lease&>(one));
    Lease other = std::move(const_cast<Lease&>(two));
  }
  Lease low = swapper.fetch(id, Access::overwrite, {0, 4096});
  Lease high = swapper.fetch(id, Access::update, {40'960, Range::whole});
  EXPECT_EQ(code_of([&] { swapper.fetch(id); }, &text), Errc::timeout);
  EXPECT_NE(text.find("are leased for"), std::string::npos) << text;
  EXPECT_EQ(copy_of(part), values(1, 8192, 100, 1));
}

TEST_P(ParameterTest, MisuseIsAnErrorThatNamesTheTensor) {
  Context context(config());
  ParameterSwapper swapper(context, {.name = "lp"});
  const ParamId id = swapper.add("wte", 100, DType::f32);
  std::string text;
  const auto refused = [&](const std::function<void()>& call, const char* word) {
    EXPECT_EQ(code_of(call, &text), Errc::invalid_argument) << text;
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  refused([&] { swapper.fetch(ParamId{7}); }, "id 7");
  refused([&] { swapper.fetch(UnitId{7}); }, "id 7");
  refused([&] { swapper.add("x", 1, DType::f32, {.unit = UnitId{9}}); }, "id 9");
  refused([&] { swapper.add("x", -1, DType::f32); }, "\"x\"");
  refused([&] { swapper.fetch(id, Access::read, {0, 101}); }, "wte");
  refused([&] { swapper.fetch(id, Access::read, {-1, 2}); }, "wte");
  refused([&] { swapper.fetch(id, Access::read, {101, Range::whole}); }, "wte");
  refused([&] { static_cast<void>(swapper.fetch(id).as<const bf16>()); }, "bf16");
  refused([&] { static_cast<void>(swapper.fetch(id).as<float>()); }, "const");
  std::vector<std::byte> odd(7);
  refused([&] { swapper.add("x", 2, DType::f32, {.init = odd}); }, "7 bytes");
  refused([&] { swapper.read_into(id, std::span<std::byte>(odd)); }, "wte");
  refused([&] { swapper.read_into(id, std::span<bf16>()); }, "wte");
  Lease lease = swapper.fetch(id);
  lease.commit();
  refused([&] { lease.commit(); }, "already");
  refused([&] { static_cast<void>(lease.as<const float>()); }, "committed");
  Lease changed = swapper.fetch(id, Access::update);
  refused([&] { std::move(changed).release_after([] { return true; }); }, "commit");
  swapper.remove(swapper.add("gone", 5, DType::f32));
  refused([&] { swapper.fetch(ParamId{1}); }, "gone");
}

TEST_P(ParameterTest, RemoveIsBusyWhileLeasedAndGivesSpaceBack) {
  Context context(config());
  ParameterSwapper swapper(context, {.timeout = 0.5});
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  put(swapper, id, 1, 1);
  swapper.flush();
  {
    const Lease lease = swapper.fetch(id);
    EXPECT_EQ(code_of([&] { swapper.remove(id); }), Errc::busy);
  }
  std::int64_t space = 0;
  for (int i = 0; i < 50; ++i) {
    const ParamId again = swapper.add("again", 20'000, DType::f32);
    put(swapper, again, 2, i);
    const MemoryStats memory = swapper.stats().memory;
    const std::int64_t now = memory.region_bytes + memory.resident_share_bytes;
    if (i == 0) space = now;
    EXPECT_EQ(now, space) << "round " << i;
    swapper.remove(again);
  }
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 10'000, 1));
  EXPECT_EQ(swapper.stats().parameters, 1);
  const ParamId zeros = swapper.add("zeros", 20'000, DType::f32);
  EXPECT_EQ(copy_of(swapper.fetch(zeros)), std::vector<float>(20'000, 0.0f));
}

TEST_P(ParameterTest, ReadIntoFillsJustItsMemory) {
  Context context(config());
  ParameterSwapper swapper(context);
  for (const std::int64_t elements : {1, 1000, 4096, 12'345, 70'000}) {
    const ParamId id = swapper.add("w", elements, DType::f32);
    put(swapper, id, 9, 2);
    swapper.flush();
    for (const bool evict : {false, true}) {
      for (const std::int64_t from : {0L, 4096L, 5000L}) {
        for (const std::int64_t count : {1L, 4096L, 6001L, elements - from}) {
          if (from + count > elements || count <= 0) continue;
          if (evict && nvme()) {  // what lies in buffers has to go
            const ParamId large = swapper.add("large", 262'144, DType::f32);
            swapper.fetch(large, Access::overwrite);
            swapper.remove(large);
          }
          for (const std::size_t skew : {std::size_t{0}, std::size_t{64}}) {
            const std::size_t size = static_cast<std::size_t>(count) * 4;
            void* memory = nullptr;
            ASSERT_EQ(::posix_memalign(&memory, 4096, size + skew + 128), 0);
            auto* const bytes = static_cast<std::byte*>(memory) + skew;
            std::memset(memory, 0x5a, size + skew + 128);
            {
              ReadInto read =
                  swapper.read_into(id, std::span<std::byte>(bytes, size), {from, count});
              read.wait();
              EXPECT_TRUE(read.ready());
            }
            const auto expected = values(9, from, count, 2);
            EXPECT_EQ(std::memcmp(bytes, expected.data(), size), 0) << elements << " " << from;
            for (std::size_t i = 0; i < 128; ++i) ASSERT_EQ(bytes[size + i], std::byte{0x5a});
            std::free(memory);
          }
        }
      }
    }
  }
}

TEST_P(ParameterTest, AFencedLeaseKeepsItsBytesUntilTheFenceSaysSo) {
  Context context(config());
  ParameterSwapper swapper(context, {.timeout = 0.5});
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  put(swapper, id, 1, 1);
  std::atomic<bool> done{false};
  std::move(*std::make_unique<Lease>(swapper.fetch(id))).release_after([&] { return done.load(); });
  EXPECT_EQ(code_of([&] { swapper.fetch(id, Access::overwrite); }), Errc::timeout);
  done = true;
  put(swapper, id, 1, 2);
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 10'000, 2));
}

TEST_P(ParameterTest, WithoutADriverALeaseStaysWhatItWas) {
  if (sys::cuda_driver().context_current()) GTEST_SKIP() << "there is a driver, with a context";
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  put(swapper, id, 1, 1);
  Lease lease = swapper.fetch(id);
  std::string text;
  EXPECT_EQ(code_of([&] { std::move(lease).release_after(CudaStream{}); }, &text),
            Errc::unsupported);
  EXPECT_NE(text.find("CudaStream"), std::string::npos) << text;
  ASSERT_TRUE(lease);
  EXPECT_EQ(copy_of(lease), values(1, 0, 10'000, 1));
}

TEST_P(ParameterTest, AUnitHasThoseThatAreLeftInTheOrderOfAdd) {
  Context context(config());
  ParameterSwapper swapper(context);
  const UnitId unit = swapper.add_unit("layer");
  std::mt19937 random(std::random_device{}());
  std::vector<std::pair<ParamId, std::uint64_t>> left;
  for (std::uint64_t tag = 0; tag < 60; ++tag) {
    left.emplace_back(swapper.add("p", 100, DType::f32, {.unit = unit, .tag = tag}), tag);
    put(swapper, left.back().first, tag, 1);
    for (int i = 0; i < 2 && tag > 20 && !left.empty() && random() % 3 != 0; ++i) {
      const auto gone = left.begin() + static_cast<std::ptrdiff_t>(random() % left.size());
      swapper.remove(gone->first);
      left.erase(gone);
    }
    const Lease lease = swapper.fetch(unit);
    ASSERT_EQ(lease.tensors().size(), left.size());
    for (std::size_t i = 0; i < left.size(); ++i) {
      ASSERT_EQ(lease.tensors()[i].tag, left[i].second);
      ASSERT_EQ(lease.tensors()[i].as<const float>()[99], value_of(left[i].second, 99, 1));
    }
  }
  EXPECT_EQ(swapper.prefetch(unit), 1);
  EXPECT_EQ(swapper.stats().parameters, std::ssize(left));
}

TEST_P(ParameterTest, WhatAFenceHoldsGoesWithItAndMayBeALeaseItself) {
  Context context(config());
  ParameterSwapper swapper(context, {.timeout = 0.5});
  const ParamId first = swapper.add("first", 10'000, DType::f32);
  const ParamId second = swapper.add("second", 10'000, DType::f32);
  put(swapper, first, 1, 1);
  put(swapper, second, 2, 1);
  auto kept = std::make_shared<Lease>(swapper.fetch(second));
  swapper.fetch(first).release_after([kept = std::move(kept)] { return true; });
  swapper.remove(first);  // asks it, as any call does
  swapper.remove(second);
}

TEST_P(ParameterTest, AFenceThatThrowsIsAskedAgain) {
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  put(swapper, id, 1, 1);
  int asked = 0;
  swapper.fetch(id).release_after([&] {
    if (++asked == 1) throw std::runtime_error("not now");
    if (asked == 2) throw asked;
    return true;
  });
  put(swapper, id, 1, 2);
  EXPECT_EQ(asked, 3);
}

// What comes between a fetch's look at the table and its turn is not without a place.
TEST_P(ParameterTest, AUnitGrowsWhileItIsFetched) {
  Context context(config(64, 256 * 1024));
  ParameterSwapper swapper(context);
  const UnitId unit = swapper.add_unit("layer");
  std::atomic<bool> over{false};
  std::thread grows([&] {
    for (int i = 0; i < 100; ++i) {
      swapper.add("w" + std::to_string(i), 9'000, DType::f32, {.unit = unit});
      std::this_thread::yield();
    }
    over = true;
  });
  while (!over) {
    Lease lease = swapper.fetch(unit, Access::update);
    for (const auto& tensor : lease.tensors())
      EXPECT_EQ(tensor.as<float>()[tensor.count - 1], 0.0f);
    lease.commit();
  }
  grows.join();
  EXPECT_EQ(swapper.fetch(unit).tensors().size(), 100U);
}

TEST_P(ParameterTest, LeasesEndOnAnyThread) {
  Context context(config());
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  for (int version = 0; version < 20; ++version) {
    Lease lease = swapper.fetch(id, Access::overwrite);
    std::thread([moved = std::move(lease), version]() mutable {
      fill(moved.as<float>(), 1, 0, version);
      moved.commit();
    }).join();
    Lease read = swapper.fetch(id);
    std::thread([moved = std::move(read), version] {
      EXPECT_EQ(copy_of(moved), values(1, 0, 10'000, version));
    }).join();
  }
}

TEST_P(ParameterTest, ALeaseThatOutlivesItsSwapperStaysValid) {
  Lease survivor;
  {
    Context context(config());
    ParameterSwapper swapper(context);
    const ParamId id = swapper.add("w", 10'000, DType::f32);
    put(swapper, id, 1, 1);
    survivor = swapper.fetch(id);
  }
  EXPECT_EQ(copy_of(survivor), values(1, 0, 10'000, 1));
}

TEST_P(ParameterTest, WhereTells) {
  Context context(config(4, 256 * 1024, 20'000));
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 10'000, DType::f32);
  if (nvme()) {
    EXPECT_EQ(swapper.where(id), Residence::nowhere);
  }
  {
    Lease lease = swapper.fetch(id, Access::overwrite);
    EXPECT_EQ(swapper.where(id), nvme() ? Residence::buffers : Residence::memory);
    fill(lease.as<float>(), 1, 0, 1);
    lease.commit();
  }
  swapper.flush();
  const ParamId large = swapper.add("large", 262'144, DType::f32);
  { const Lease all = swapper.fetch(large, Access::overwrite); }
  EXPECT_EQ(swapper.where(id), nvme() ? Residence::store : Residence::memory);
  { const Lease lease = swapper.fetch(id); }
  EXPECT_EQ(swapper.where(id), Residence::memory);
}

// The trainer whose only fp32 copy of the parameters is swapped: moments in an optimizer swapper,
// weights in a parameter swapper, both changed tile by tile, the leases attached to the tile.
TEST_P(ParameterTest, ATileTakesItsLeasesWithIt) {
  Config settings = config(6, 64 * 1024, 3000);
  const Config small = small_config(GetParam(), scratch_.path());
  settings.offload_optimizer = small.offload_optimizer;
  Context context(settings);
  OptimizerSwapper moments(context, {.states = {{"m"}, {"v"}}});
  ParameterSwapper weights(context);
  Twin twin;
  std::vector<ParamId> ids;
  for (const std::int64_t elements : {1, 5000, 4096, 33'333}) {
    const std::uint64_t tag = ids.size();
    twin.add(tag, elements);
    moments.add("p", elements, {.tag = tag});
    ids.push_back(weights.add("p", elements, DType::f32,
                              {.init = std::as_bytes(std::span(twin.params.back().w))}));
  }
  for (int step = 1; step <= 4; ++step) {
    // What is read before the step must not be served after it.
    if (step % 2 == 0)
      for (const ParamId id : ids) weights.prefetch(id);
    spillway::Run run = moments.begin_step(step);
    bool dropped = step != 2;  // once, a tile is dropped with its leases
    for (;;) {
      for (const Slice& slice : run.upcoming())
        weights.prefetch(ids[slice.tag], {slice.offset, slice.count});
      auto tile = run.next();
      if (!tile) break;
      for (const Slice& slice : tile->slices()) {
        Lease lease = weights.fetch(ids[slice.tag], Access::update, {slice.offset, slice.count});
        const auto w = lease.as<float>();
        if (!dropped) w[0] = -1;
        const auto m = slice.of<float>("m"), v = slice.of<float>("v");
        for (std::size_t i = 0; dropped && i < w.size(); ++i)
          adamw(w[i], m[i], v[i],
                gradient(slice.tag, slice.offset + static_cast<std::int64_t>(i), step), step);
        tile->attach(std::move(lease));
      }
      if (dropped) {
        tile->commit();
      } else {
        dropped = true;
        break;
      }
    }
    if (step == 2 && !nvme()) return;  // memory is the home: torn, as it is told
    if (step == 2) {
      { spillway::Run gone = std::move(run); }
      spillway::Run again = moments.begin_step(step);
      while (auto tile = again.next()) {
        for (const Slice& slice : tile->slices()) {
          Lease lease = weights.fetch(ids[slice.tag], Access::update, {slice.offset, slice.count});
          const auto w = lease.as<float>(), m = slice.of<float>("m"), v = slice.of<float>("v");
          for (std::size_t i = 0; i < w.size(); ++i)
            adamw(w[i], m[i], v[i],
                  gradient(slice.tag, slice.offset + static_cast<std::int64_t>(i), step), step);
          tile->attach(std::move(lease));
        }
        tile->commit();
      }
    }
    twin.step(step);
    for (std::size_t p = 0; p < ids.size(); ++p)
      ASSERT_EQ(copy_of(weights.fetch(ids[p])), twin.params[p].w) << "step " << step;
  }
}

// ---- what only nvme has

TEST(ParameterBudgetTest, ATensorLargerThanABufferWorksUpToTheWholePool) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 4, 256 * 1024));
  ParameterSwapper swapper(context);
  const ParamId whole = swapper.add("whole", 262'144, DType::f32);
  const ParamId beyond = swapper.add("beyond", 262'145, DType::f32);
  put(swapper, whole, 1, 1);
  EXPECT_EQ(copy_of(swapper.fetch(whole)), values(1, 0, 262'144, 1));
  std::string text;
  EXPECT_EQ(code_of([&] { swapper.fetch(beyond); }, &text), Errc::does_not_fit);
  EXPECT_NE(text.find("beyond"), std::string::npos) << text;
  EXPECT_NE(text.find("buffer_count to 5"), std::string::npos) << text;
  put(swapper, beyond, 2, 1, {0, 8192});  // a part fits
  EXPECT_EQ(copy_of(swapper.fetch(beyond, Access::read, {4096, 100})), values(2, 4096, 100, 1));
  EXPECT_LE(swapper.stats().peak_pool_bytes, 4 * 256 * 1024);
}

TEST(ParameterBudgetTest, AFullPoolTimesOutWithItsHolders) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 2, 256 * 1024));
  ParameterSwapper swapper(context, {.timeout = 0.5});
  const ParamId a = swapper.add("holder", 100'000, DType::f32);
  const ParamId b = swapper.add("wants", 100'000, DType::f32);
  put(swapper, b, 2, 1);
  swapper.flush();
  std::string text;
  {
    const Lease lease = swapper.fetch(a);
    EXPECT_EQ(code_of([&] { swapper.fetch(b); }, &text), Errc::timeout);
    EXPECT_NE(text.find("holder"), std::string::npos) << text;
    EXPECT_NE(text.find("wants"), std::string::npos) << text;
    EXPECT_NE(text.find("largest free run"), std::string::npos) << text;
    EXPECT_EQ(swapper.prefetch(b), 0);
    EXPECT_EQ(swapper.stats().prefetches_dropped, 1);
    EXPECT_FALSE(swapper.try_fetch(b).has_value());
  }
  const Lease lease = swapper.fetch(b);
}

TEST(ParameterBudgetTest, TwoThreadsWithUnitsOfMoreThanHalfBothFinish) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 10, 64 * 1024));
  ParameterSwapper swapper(context);
  std::vector<UnitId> units;
  for (int u = 0; u < 2; ++u) {
    units.push_back(swapper.add_unit("unit" + std::to_string(u)));
    for (int i = 0; i < 3; ++i)
      swapper.add("p", 32'000, DType::f32, {.unit = units.back()});  // 3 x 128 KiB of 640
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        Lease lease = swapper.fetch(units[static_cast<std::size_t>(t)],
                                    i % 2 == 0 ? Access::update : Access::read);
        if (i % 2 == 0) lease.commit();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(swapper.stats().peak_pool_bytes, 10 * 64 * 1024);
}

TEST(ParameterBudgetTest, TheCapHoldsToTheElement) {
  const Scratch scratch;
  for (const std::int64_t cap : {0, 1, 9'999, 10'000, 25'000, 100'000}) {
    Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 4, 256 * 1024, cap));
    ParameterSwapper swapper(context);
    std::vector<ParamId> ids;
    for (std::uint64_t i = 0; i < 8; ++i) {
      ids.push_back(swapper.add("p", 10'000, DType::f32));
      put(swapper, ids.back(), i, 1);
    }
    std::int64_t first_pass = 0;
    for (int pass = 0; pass < 3; ++pass) {
      for (std::uint64_t i = 0; i < 8; ++i) {
        EXPECT_EQ(copy_of(swapper.fetch(ids[i])), values(i, 0, 10'000, 1));
        ASSERT_LE(swapper.stats().cached_elements, cap);
      }
      if (pass == 0) first_pass = swapper.stats().bytes_read;
    }
    EXPECT_LE(swapper.stats().peak_cached_elements, cap);
    if (cap == 100'000) {  // all of it fits
      EXPECT_EQ(swapper.stats().bytes_read, first_pass);
    }
  }
}

// Neither what was read ahead of it, nor what was read together with it.
TEST(ParameterBudgetTest, ALeaseHoldsNoMoreOfThePoolThanItChanges) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 2, 128 * 1024, 0));
  ParameterSwapper swapper(context, {.timeout = 2});
  const UnitId unit = swapper.add_unit("unit");
  const ParamId large = swapper.add("large", 30'000, DType::f32, {.unit = unit});
  const ParamId small = swapper.add("small", 4096, DType::f32, {.unit = unit});
  const ParamId other = swapper.add("other", 20'000, DType::f32);
  put(swapper, large, 1, 1);
  put(swapper, small, 2, 1);
  put(swapper, other, 3, 1);
  swapper.flush();
  const auto with = [&](ParamId id, std::uint64_t tag, Range range) {
    swapper.fetch(other);  // what was read ahead before goes
    EXPECT_EQ(swapper.prefetch(unit), 1);
    while (swapper.where(id) == Residence::coming) std::this_thread::yield();
    Lease lease = swapper.fetch(id, Access::update, range);
    EXPECT_EQ(copy_of(lease), values(tag, range.offset, range.count, 1));
    EXPECT_EQ(copy_of(swapper.fetch(other)), values(3, 0, 20'000, 1));
  };
  with(large, 1, {0, 4096});
  with(large, 1, {8192, 100});
  with(small, 2, {0, 4096});
}

TEST(ParameterBudgetTest, WhatIsToBeKeptStaysWhateverElseIsNeeded) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 4, 64 * 1024, 30'000));
  ParameterSwapper swapper(context);
  const ParamId kept = swapper.add("kept", 10'000, DType::f32, {.keep = true});
  std::vector<ParamId> others;
  for (int i = 0; i < 6; ++i) others.push_back(swapper.add("other", 10'000, DType::f32));
  put(swapper, kept, 1, 1);
  for (const ParamId other : others) put(swapper, other, 2, 1);
  swapper.flush();
  swapper.fetch(kept);
  const auto scan = [&] {
    swapper.begin_pass("scan");
    for (const ParamId other : others) EXPECT_EQ(copy_of(swapper.fetch(other)).size(), 10'000U);
  };
  for (int pass = 0; pass < 4; ++pass) {
    scan();
    EXPECT_EQ(swapper.where(kept), Residence::memory) << "pass " << pass;
  }
  EXPECT_EQ(copy_of(swapper.fetch(kept)), values(1, 0, 10'000, 1));
}

// Hugetlb pages, where the pool has any, are not in it: then it is less.
TEST(ParameterBudgetTest, BothBudgetsAreAllThatTheProcessGrowsBy) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep shadows of the memory";
#endif
  constexpr std::int64_t MiB = 1024 * 1024, pool = 8 * MiB, cache = 16 * MiB, slack = 6 * MiB;
  const Scratch scratch;
  const std::int64_t before = sys::resident_bytes();
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 4, pool / 4, cache / 4));
  ParameterSwapper swapper(context);
  std::vector<ParamId> ids;
  for (int i = 0; i < 96; ++i) ids.push_back(swapper.add("w", 256 * 1024, DType::f32));  // 96 MiB
  for (const ParamId id : ids) {
    Lease lease = swapper.fetch(id, Access::overwrite);
    std::ranges::fill(lease.as<float>(), 1.0f);
    lease.commit();
  }
  for (int pass = 0; pass < 3; ++pass) {
    swapper.begin_pass("all");
    for (const ParamId id : ids) EXPECT_EQ(swapper.fetch(id).as<const float>()[9], 1.0f);
    EXPECT_LE(sys::resident_bytes() - before, pool + cache + slack) << "pass " << pass;
  }
  EXPECT_GE(swapper.stats().cached_bytes, cache - MiB);
}

TEST(ParameterBytesTest, AnOverwriteReadsNothing) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 4, 256 * 1024));
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 65'536, DType::f32);
  for (int version = 1; version <= 3; ++version) {
    for (std::int64_t at = 0; at < 65'536; at += 16'384) put(swapper, id, 1, version, {at, 16'384});
    swapper.flush();  // what is overwritten before it is written need not be written
  }
  EXPECT_EQ(swapper.stats().bytes_read, 0);
  EXPECT_EQ(swapper.stats().bytes_written, 3 * 65'536 * 4);
  EXPECT_EQ(copy_of(swapper.fetch(id)), values(1, 0, 65'536, 3));
  EXPECT_EQ(swapper.stats().bytes_read, 65'536 * 4);
}

TEST(ParameterBytesTest, AUnitDoesNotDisplaceItsOwnMembers) {
  const test::Scratch scratch;
  Context context(test::parameter_config(OffloadDevice::nvme, scratch.path(), 4, 256 * 1024, 4096));
  ParameterSwapper weights(context);
  const UnitId unit = weights.add_unit("unit");
  const ParamId first = weights.add("first", 4096, DType::f32, {.unit = unit});
  const ParamId second = weights.add("second", 4096, DType::f32, {.unit = unit});
  test::put(weights, first, 1, 1);
  test::put(weights, second, 2, 1);
  weights.flush();
  const ParamId all = weights.add("all of the pool", 256 * 1024, DType::f32);
  weights.fetch(all);     // which holds nothing else any more
  weights.fetch(second);  // the cache has room for one
  ASSERT_EQ(weights.stats().cached_elements, 4096);
  const ParameterStats before = weights.stats();
  weights.fetch(unit);
  const ParameterStats after = weights.stats();
  EXPECT_EQ(after.evictions, before.evictions);
  EXPECT_LE(after.bytes_read - before.bytes_read, 4096 * 4);
}

TEST(ParameterBytesTest, PrefetchedBytesAreReadOnce) {
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path(), 4, 256 * 1024));
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("w", 65'536, DType::f32);
  const ParamId other = swapper.add("other", 262'144, DType::f32);
  put(swapper, id, 1, 1);
  swapper.flush();
  { const Lease all = swapper.fetch(other, Access::overwrite); }  // empties the pool
  EXPECT_EQ(swapper.prefetch(id, {0, 16'384}), 1);
  EXPECT_EQ(swapper.prefetch(id, {16'384, 16'384}), 1);
  for (const std::int64_t at : {0, 16'384}) {
    Lease lease = swapper.fetch(id, Access::update, {at, 16'384});
    EXPECT_EQ(copy_of(lease), values(1, at, 16'384, 1));
    fill(lease.as<float>(), 1, at, 2);
    lease.commit();
  }
  EXPECT_EQ(swapper.stats().bytes_read, 2 * 16'384 * 4);
  EXPECT_EQ(copy_of(swapper.fetch(id, Access::read, {0, 32'768})), values(1, 0, 32'768, 2));
}

TEST(ParameterAdoptTest, TheEnginesMemoryIsTheHome) {
  for (const OffloadDevice device : {OffloadDevice::none, OffloadDevice::cpu}) {
    Context context(parameter_config(device, {}));
    ParameterSwapper swapper(context);
    std::vector<float> mine = values(4, 0, 10'000, 1);
    const ParamId id =
        swapper.add("mine", 10'000, DType::f32, {.adopt = std::as_writable_bytes(std::span(mine))});
    EXPECT_EQ(swapper.fetch(id).as<const float>().data(), mine.data());
    put(swapper, id, 4, 2, {100, 5000});
    EXPECT_EQ(mine[99], value_of(4, 99, 1));
    EXPECT_EQ(mine[100], value_of(4, 100, 2));
    {
      Lease dropped = swapper.fetch(id, Access::update);
      dropped.as<float>()[0] = -1;
    }
    EXPECT_EQ(mine[0], value_of(4, 0, 1));
    swapper.remove(id);
    EXPECT_EQ(mine[100], value_of(4, 100, 2));
  }
  const Scratch scratch;
  Context context(parameter_config(OffloadDevice::nvme, scratch.path()));
  ParameterSwapper swapper(context);
  std::vector<std::byte> memory(4);
  EXPECT_EQ(code_of([&] { swapper.add("x", 1, DType::f32, {.adopt = memory}); }),
            Errc::invalid_argument);
}

TEST(ParameterLifeTest, NothingIsLeftOnDisk) {
  const Scratch scratch;
  {
    Context context(parameter_config(OffloadDevice::nvme, scratch.path()));
    ParameterSwapper swapper(context);
    put(swapper, swapper.add("w", 100'000, DType::f32), 1, 1);
  }
  EXPECT_TRUE(scratch.empty());
}

}  // namespace
}  // namespace spillway::test
