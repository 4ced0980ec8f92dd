#include "store/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "base/align.h"

#include "spillway/error.h"

namespace spillway::store {
namespace {

using Sizes = std::vector<std::int64_t>;

Ledger ledger_of(const Sizes& weights = {1}, std::int64_t unit = 8192, bool trailers = false) {
  return Ledger(Stripe(weights, unit, trailers ? 4096 : 0), 4096, trailers);
}

SectionId reserve(Ledger& ledger, const Sizes& tiles, int sections_per_tile, int in_flight,
                  int owner = 0) {
  return ledger.enter(ledger.plan(tiles, sections_per_tile, in_flight, owner));
}

SectionId at(SectionId first, std::int64_t index) {
  return SectionId{static_cast<std::uint32_t>(static_cast<std::int64_t>(first) + index)};
}

std::int64_t offset_of(const Ledger& ledger, SlotId slot) { return ledger.slots().offset(slot, 0); }

TEST(LedgerTest, FootprintIsWholePagesAndATrailerOfItsOwn) {
  Ledger plain = ledger_of();
  EXPECT_EQ(plain.footprint(1), 4096);
  EXPECT_EQ(plain.footprint(4096), 4096);
  EXPECT_EQ(plain.footprint(4097), 8192);
  Ledger trailers = ledger_of({1}, 8192, true);
  EXPECT_EQ(trailers.footprint(1), 8192);
  EXPECT_EQ(trailers.footprint(4096), 8192);
  Ledger coarse(Stripe(Sizes{1}, 65536), 65536, true);
  EXPECT_EQ(coarse.footprint(65536), 2 * 65536);
  EXPECT_EQ(coarse.footprint(4096), 65536) << "there is room for the trailer in the padding";
}

TEST(LedgerTest, ReservesTilesAndSpares) {
  Ledger ledger = ledger_of();
  const Sizes tiles(30 * 3, 8192);
  reserve(ledger, tiles, 3, 4);
  EXPECT_EQ(ledger.ends()[0], (90 + 3 * 5) * 8192);
}

TEST(LedgerTest, ATileOfItsOwnNeedsASpareToWriteAndOneForASlowReader) {
  Ledger ledger = ledger_of();
  const SectionId id = reserve(ledger, {4096}, 1, 4);
  EXPECT_EQ(ledger.ends()[0], 3 * 4096);
  ledger.finish_write(id, ledger.start_write(id)->slot, 1);
  ledger.start_read(id);
  for (const unsigned seal : {2u, 3u, 4u}) {
    const auto place = ledger.start_write(id);
    ASSERT_TRUE(place) << seal;
    ledger.finish_write(id, place->slot, seal);
  }
}

TEST(LedgerTest, SectionsWithoutBytesTakeNothing) {
  Ledger ledger = ledger_of();
  const SectionId first = reserve(ledger, {0, 0, 0}, 3, 4);
  EXPECT_EQ(ledger.ends()[0], 0);
  EXPECT_DEATH(static_cast<void>(ledger.section(first)), "reserved and has bytes");
  ledger.release(first, 3);
  EXPECT_EQ(reserve(ledger, {0, 4096, 0}, 3, 4), first);
}

TEST(LedgerTest, AnEmptyReservationIsLegal) {
  Ledger ledger = ledger_of();
  const SectionId first = reserve(ledger, {}, 3, 4);
  ledger.release(first, 0);
  EXPECT_EQ(ledger.ends()[0], 0);
}

TEST(LedgerTest, WritesRunOverTheFileInOrderAndFlip) {
  Ledger ledger = ledger_of();
  const SectionId first = reserve(ledger, Sizes(4, 4096), 1, 1);
  for (int i = 0; i < 4; ++i) {
    const auto place = ledger.start_write(at(first, i));
    ASSERT_TRUE(place);
    EXPECT_EQ(offset_of(ledger, place->slot), i * 4096);
    EXPECT_FALSE(ledger.written(at(first, i)));
    ledger.finish_write(at(first, i), place->slot, 10u + static_cast<unsigned>(i));
    EXPECT_EQ(ledger.section(at(first, i)).seal, 10u + static_cast<unsigned>(i));
  }
  // Second pass: the two spares, then the slots that became free.
  for (int i = 0; i < 4; ++i) {
    const auto place = ledger.start_write(at(first, i));
    ASSERT_TRUE(place);
    EXPECT_EQ(offset_of(ledger, place->slot), (i + 4) % 6 * 4096);
    ledger.finish_write(at(first, i), place->slot, 20);
  }
}

TEST(LedgerTest, AFailedWriteLeavesTheOldAndTriesElsewhere) {
  Ledger ledger = ledger_of();
  const SectionId id = reserve(ledger, Sizes(3, 4096), 1, 1);
  ledger.finish_write(id, ledger.start_write(id)->slot, 1);
  const SlotId old = ledger.section(id).slot;
  const SlotId tried = ledger.start_write(id)->slot;
  EXPECT_NE(tried, old);
  ledger.abandon_write(tried);
  EXPECT_EQ(ledger.section(id).slot, old);
  EXPECT_EQ(ledger.section(id).seal, 1u);
  EXPECT_NE(ledger.start_write(id)->slot, tried);
}

TEST(LedgerTest, AReaderKeepsItsSlotThroughAnOverwrite) {
  Ledger ledger = ledger_of();
  const SectionId id = reserve(ledger, {4096}, 1, 0);
  ledger.finish_write(id, ledger.start_write(id)->slot, 1);
  const SlotId reading = ledger.start_read(id).slot;
  ledger.finish_write(id, ledger.start_write(id)->slot, 2);
  EXPECT_FALSE(ledger.start_write(id)) << "the only other slot is being read";
  ledger.finish_read(reading);
  EXPECT_EQ(ledger.start_write(id)->slot, reading);
}

TEST(LedgerTest, TailsShareSparesWithoutWastingMuch) {
  Ledger ledger = ledger_of();
  Sizes tiles;
  std::int64_t payload = 0;
  for (int unit = 0; unit < 16; ++unit) {
    tiles.push_back((240 + unit) * 4096);  // 16 odd tails within 1/8
    payload += tiles.back();
  }
  reserve(ledger, tiles, 1, 3);
  EXPECT_LE(ledger.ends()[0], payload + payload / 8 + 4 * 255 * 4096);
  EXPECT_LT(ledger.ends()[0], 2 * payload);
}

TEST(LedgerTest, ReleaseGivesTheTailOfTheFileBack) {
  Ledger ledger = ledger_of();
  const SectionId a = reserve(ledger, Sizes(10, 4096), 1, 1);
  const std::int64_t end = ledger.ends()[0];
  const SectionId b = reserve(ledger, Sizes(10, 16384), 1, 1);
  ledger.release(b, 10);
  EXPECT_EQ(ledger.ends()[0], end);
  reserve(ledger, Sizes(10, 16384), 1, 1);
  const std::int64_t both = ledger.ends()[0];
  ledger.release(a, 10);
  EXPECT_EQ(ledger.ends()[0], both) << "something lies behind it";
  EXPECT_EQ(reserve(ledger, Sizes(5, 8192), 1, 0), a) << "ids are used again";
  EXPECT_EQ(ledger.ends()[0], both) << "and so is the space";
}

TEST(LedgerTest, IdsComeBackWhenTheWholeRunIsReleased) {
  Ledger ledger = ledger_of();
  const SectionId a = reserve(ledger, Sizes(4, 4096), 1, 1);
  ledger.release(a, 2);
  EXPECT_NE(reserve(ledger, Sizes(2, 4096), 1, 1), a);
  ledger.release(at(a, 2), 2);
  EXPECT_EQ(reserve(ledger, Sizes(4, 4096), 1, 1), a);
}

TEST(LedgerTest, APlanAloneChangesNothing) {
  Ledger ledger = ledger_of({1, 2});
  reserve(ledger, Sizes(10, 40960), 1, 1);
  const Sizes ends = ledger.ends();
  const auto plan = ledger.plan(Sizes(100, 12288), 2, 3, 0);
  EXPECT_EQ(ledger.ends(), ends);
  EXPECT_GT(plan.ends[0], ends[0]);
  const auto again = ledger.plan(Sizes(100, 12288), 2, 3, 0);
  EXPECT_EQ(again.ends, plan.ends);
  ledger.enter(again);
  EXPECT_EQ(ledger.ends(), plan.ends);
}

TEST(LedgerTest, SectionsAndFilesBeyondFourGibibytes) {
  Ledger ledger = ledger_of({1, 1}, MiB);
  const std::int64_t big = 5 * GiB + 12345;
  const SectionId id = reserve(ledger, {big, big}, 2, 1);
  EXPECT_GE(ledger.ends()[0] + ledger.ends()[1], 4 * big);
  const auto place = ledger.start_write(at(id, 1));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->body, align_up(big, page_bytes));
  EXPECT_GT(std::max(ledger.slots().offset(place->slot, 0), ledger.slots().offset(place->slot, 1)) +
                place->body / 2,
            2 * GiB);
  EXPECT_GE(ledger.max_runs(), 5 * 1024);
}

TEST(LedgerTest, RefusesWhatCannotBe) {
  const Ledger ledger = ledger_of();
  for (const std::int64_t size : {std::int64_t{1} << 61, INT64_MAX}) {
    try {
      static_cast<void>(ledger.plan(Sizes{size, 1}, 1, 1, 0));
      FAIL() << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::no_space);
    }
  }
  EXPECT_THROW(static_cast<void>(ledger.plan(Sizes{-1}, 1, 1, 0)), Error);
}

TEST(LedgerDeathTest, MisuseIsCaught) {
  Ledger ledger = ledger_of();
  const SectionId id = reserve(ledger, {4096}, 1, 1);
  EXPECT_DEATH(ledger.start_read(id), "only a written section");
  EXPECT_DEATH(static_cast<void>(ledger.section(at(id, 1))), "reserved and has bytes");
  EXPECT_DEATH(ledger.release(id, 2), "only what was reserved");
}

// Random life against a plain map: every slot in use lies inside the files and over no other, what
// was written last is what is there, and no write of at most the announced tiles finds no spare.
class LedgerModelTest : public testing::TestWithParam<Sizes> {};

TEST_P(LedgerModelTest, NothingOverlapsAndNothingIsLost) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  Ledger ledger = ledger_of(GetParam(), 8192, seed % 2 == 0);
  const int paths = static_cast<int>(GetParam().size());

  struct Run {
    SectionId first{};
    Sizes sizes;
    int per_tile = 1;
    int in_flight = 1;
    int owner = 0;
  };
  std::vector<Run> runs;
  std::map<SectionId, std::uint64_t> written;  // -> seal
  std::uint64_t next_seal = 1;

  const auto check = [&] {
    // Per path: start -> end of everything that holds a section.
    std::vector<std::map<std::int64_t, std::int64_t>> used(static_cast<std::size_t>(paths));
    for (const auto& [id, seal] : written) {
      const Ledger::Section& section = ledger.section(id);
      ASSERT_EQ(section.seal, seal);
      for (int path = 0; path < paths; ++path) {
        const std::int64_t share = ledger.stripe().share(path, ledger.body(section.payload),
                                                         ledger.slots().rotation(section.slot));
        if (share == 0) continue;
        const std::int64_t offset = ledger.slots().offset(section.slot, path);
        ASSERT_EQ(offset % 4096, 0);
        ASSERT_LE(offset + share, ledger.ends()[static_cast<std::size_t>(path)]);
        const bool fresh =
            used[static_cast<std::size_t>(path)].emplace(offset, offset + share).second;
        ASSERT_TRUE(fresh);
      }
    }
    for (const auto& extents : used) {
      std::int64_t end = 0;
      for (const auto& [from, to] : extents) {
        ASSERT_GE(from, end);
        end = to;
      }
    }
  };

  for (int step = 0; step < 1500; ++step) {
    const int dice = below(20);
    if (runs.empty() || dice == 0) {
      Run run;
      run.per_tile = 1 + below(3);
      run.in_flight = below(4);
      run.owner = below(2);
      const int tiles = below(12);
      const std::int64_t full = 1 + below(20 * 4096);
      for (int i = 0; i < tiles; ++i) {
        const std::int64_t size = below(4) == 0 ? below(20 * 4096) : full;
        for (int s = 0; s < run.per_tile; ++s) run.sizes.push_back(s == 2 ? size / 256 : size);
      }
      run.first = reserve(ledger, run.sizes, run.per_tile, run.in_flight, run.owner);
      runs.push_back(run);
    } else if (dice == 1) {
      const auto which = runs.begin() + below(static_cast<int>(runs.size()));
      const auto count = static_cast<std::int64_t>(which->sizes.size());
      // In two parts, sometimes: ids and space come back all the same.
      const std::int64_t cut = below(static_cast<int>(count) + 1);
      for (std::int64_t i = 0; i < count; ++i) written.erase(at(which->first, i));
      ledger.release(which->first, cut);
      check();
      ledger.release(at(which->first, cut), count - cut);
      runs.erase(which);
    } else {
      // A few tiles of an owner at once, as many as were announced by all its runs at least.
      const Run& run = runs[static_cast<std::size_t>(below(static_cast<int>(runs.size())))];
      const int tiles = static_cast<int>(run.sizes.size()) / run.per_tile;
      if (tiles == 0) continue;
      std::vector<std::pair<SectionId, SlotId>> flying, read;
      const int start = below(tiles);
      for (int t = start; t < std::min(tiles, start + run.in_flight); ++t) {
        for (int s = 0; s < run.per_tile; ++s) {
          const SectionId id = at(run.first, t * run.per_tile + s);
          if (run.sizes[static_cast<std::size_t>(t * run.per_tile + s)] == 0) continue;
          if (dice == 2) {
            ledger.forget(id);
            written.erase(id);
            continue;
          }
          const auto place = ledger.start_write(id);
          ASSERT_TRUE(place);
          flying.emplace_back(id, place->slot);
        }
      }
      for (const auto& [id, slot] : flying) {
        if (below(5) == 0) {
          ledger.abandon_write(slot);
          continue;
        }
        ledger.finish_write(id, slot, next_seal);
        written[id] = next_seal++;
      }
    }
    check();
  }
  for (const Run& run : runs) {
    ledger.release(run.first, static_cast<std::int64_t>(run.sizes.size()));
  }
  for (const std::int64_t end : ledger.ends()) EXPECT_EQ(end, 0) << "all space came back";
}

INSTANTIATE_TEST_SUITE_P(Paths, LedgerModelTest,
                         testing::Values(Sizes{1}, Sizes{1, 1, 1}, Sizes{3, 1}, Sizes{5, 2, 1}));

}  // namespace
}  // namespace spillway::store
