#include <gtest/gtest.h>
#include <sys/stat.h>

#include <new>

#include "store/data_file.h"
#include "store/store_fixture.h"
#include "support/heap/heap.h"

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
        mover.transfer().verify(at(first, 3 * tile + s), buffer.data() + s * footprint);
    }
    return true;
  };
  const auto pass = [&] {
    bool ok = true;
    for (int tile = 0; tile < 3; ++tile) ok = round(true, tile) && round(false, tile) && ok;
    return ok;
  };
  ASSERT_TRUE(pass());
  const std::int64_t before = test::heap().allocations;
  bool ok = true;
  for (int i = 0; i < 20; ++i) ok = pass() && ok;
  const std::int64_t after = test::heap().allocations;
  EXPECT_TRUE(ok);
  EXPECT_EQ(after - before, 0);
}

// A file grows in steps of 256 MiB. Whichever allocation fails meanwhile, it is as it was.
TEST(StoreAllocationTest, AFileThatCannotGrowTakesNothing) {
  TempDir folder;
  const auto engine = open_engine();
  DataFile file(*engine, folder.text(), {});
  const std::int64_t size = 257 * MiB;
  if (file.free_space() < 2 * size) GTEST_SKIP() << "too little is free here";
  for (int step = 1;; ++step) {
    bool grown = true;
    try {
      const test::FailingHeap failing(step);
      file.grow(size);
    } catch (const std::bad_alloc&) {
      grown = false;
    }
    struct stat found {};
    ASSERT_EQ(::fstat(engine->file(file.id()).fd, &found), 0);
    ASSERT_EQ(found.st_size, grown ? size : 0) << "allocation " << step;
    if (grown) break;
  }
}

}  // namespace
}  // namespace spillway::store
