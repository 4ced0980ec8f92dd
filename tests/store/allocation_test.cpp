#include <gtest/gtest.h>

#include "store/allocation_counter.h"
#include "store/store_fixture.h"

namespace spillway::store {
namespace {

TEST(StoreAllocationTest, ATransferInSteadyStateAllocatesNothing) {
  TempDir folder;
  const auto engine = open_engine();
  StoreOptions options = options_for({folder.folder("a"), folder.folder("b")});
  options.stripe_unit = 8192;
  Store store(*engine, options);
  const SectionId first = store.reserve(Sizes(9, 50'000), 3, 2);
  const std::int64_t footprint = store.footprint(first);
  PageMemory buffer(3 * footprint);
  Mover mover(store, 3);
  const auto round = [&](bool writes, int tile) {
    mover.transfer().clear();
    for (int s = 0; s < 3; ++s) {
      const SectionId id = at(first, 3 * tile + s);
      std::byte* const data = buffer.data() + s * footprint;
      if (writes) {
        mover.transfer().add_write(id, data, store.seal(id, data));
      } else {
        mover.transfer().add_read(id, data);
      }
    }
    mover.submit(writes ? io::Service::write : io::Service::prefetch);
    if (!mover.wait() || !mover.transfer().ok()) return false;
    if (!writes) {
      for (int s = 0; s < 3; ++s)
        store.verify(at(first, 3 * tile + s), buffer.data() + s * footprint);
    }
    return true;
  };
  const auto pass = [&] {
    bool ok = true;
    for (int tile = 0; tile < 3; ++tile) ok = round(true, tile) && round(false, tile) && ok;
    return ok;
  };
  ASSERT_TRUE(pass());
  const AllocationCounter counter;
  bool ok = true;
  for (int i = 0; i < 20; ++i) ok = pass() && ok;
  const std::int64_t allocations = counter.count();
  EXPECT_TRUE(ok);
  // Where a sanitizer has its own allocator, it at least watches what happens.
  if (AllocationCounter::works()) {
    EXPECT_EQ(allocations, 0);
  }
}

}  // namespace
}  // namespace spillway::store
