// One operation moves less than it was asked for, of every length from nothing up: nobody notices.

#include <gtest/gtest.h>

#include "fault/engine_loop.h"
#include "fault/faulty_disk.h"

namespace spillway {
namespace {

TEST(ShortTransferTest, OfEveryLength) {
  // Two sections of 8 KiB: two reads and two writes a step.
  constexpr std::int64_t elements = 2048, bytes = 4 * elements;
  test::FakeFaultyDisk disk;
  Context context = disk.open(test::small_config(OffloadDevice::nvme, "."));
  test::EngineLoop loop(context, {elements});
  std::int64_t step = 0;
  loop.step(++step);
  loop.twin.step(step);
  for (std::int64_t moved = 0; moved < bytes; ++moved) {
    // Reads and writes in turn, both sections of each.
    disk.rule({.from = moved % 4, .to = moved % 4 + 1, .short_bytes = moved});
    ASSERT_NO_THROW(loop.step(++step)) << moved << " bytes";
    ASSERT_EQ(disk.hits(), 1);
    loop.twin.step(step);
    if (moved % 64 != 0) continue;
    disk.mend();
    loop.expect_equal("up to " + std::to_string(moved) + " bytes");
    if (testing::Test::HasFailure()) return;
  }
  disk.mend();
  loop.expect_equal("at the end");
}

}  // namespace
}  // namespace spillway
