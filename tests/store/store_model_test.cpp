#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "store/store_fixture.h"

namespace spillway::store {
namespace {

struct Shape {
  Sizes weights;
  bool checksums;
};

// Random reservations, writes, reads, forgets and releases against a plain map, with several
// transfers in flight on real files.
class StoreModelTest : public testing::TestWithParam<Shape> {};

TEST_P(StoreModelTest, AgreesWithAMap) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  TempDir folder;
  const auto engine = open_engine();
  StoreOptions options;
  for (std::size_t i = 0; i < GetParam().weights.size(); ++i) {
    options.paths.push_back(folder.folder(std::to_string(i)));
  }
  options.weights = GetParam().weights;
  options.stripe_unit = 8192;
  options.checksums = GetParam().checksums;
  Store store(*engine, options);

  struct Run {
    SectionId first{};
    Sizes sizes;
    int in_flight = 0;
  };
  std::vector<Run> runs;
  std::map<SectionId, std::uint64_t> versions;
  std::uint64_t next_version = 1;
  constexpr int movers = 3;
  std::vector<std::unique_ptr<Mover>> lanes;
  std::vector<std::unique_ptr<PageMemory>> buffers;
  for (int i = 0; i < movers; ++i) {
    lanes.push_back(std::make_unique<Mover>(store, 1));
    buffers.push_back(std::make_unique<PageMemory>(128 * KiB));
  }

  for (int step = 0; step < 150; ++step) {
    const std::int64_t dice = below(12);
    if (runs.empty() || dice == 0) {
      Run run;
      run.in_flight = movers;
      const std::int64_t full = 1 + below(100'000);
      for (std::int64_t i = below(8); i >= 0; --i) {
        run.sizes.push_back(below(3) == 0 ? below(100'000) : full);
      }
      run.first = store.reserve(run.sizes, 1, movers);
      runs.push_back(run);
      continue;
    }
    const auto which = static_cast<std::size_t>(below(static_cast<std::int64_t>(runs.size())));
    const Run run = runs[which];
    const auto count = static_cast<std::int64_t>(run.sizes.size());
    if (dice == 1) {
      store.release(run.first, count);
      for (std::int64_t i = 0; i < count; ++i) versions.erase(at(run.first, i));
      runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(which));
      continue;
    }
    // Different sections on each lane, written or read at the same time.
    struct Lane {
      SectionId id{};
      std::uint64_t version = 0;  // written; 0: read
    };
    std::vector<std::optional<Lane>> busy(movers);
    for (std::int64_t lane = 0; lane < std::min<std::int64_t>(movers, count); ++lane) {
      const auto l = static_cast<std::size_t>(lane);
      const SectionId id = at(run.first, lane);
      if (run.sizes[l] == 0) continue;
      if (dice == 2) {
        store.forget(id);
        versions.erase(id);
        continue;
      }
      ASSERT_EQ(store.written(id), versions.contains(id));
      std::byte* const data = buffers[l]->data();
      Transfer& transfer = lanes[l]->transfer();
      transfer.clear();
      if (versions.contains(id) && below(2) == 0) {
        transfer.add_read(id, data);
        busy[l] = Lane{id, 0};
      } else {
        busy[l] = Lane{id, next_version++};
        fill(data, run.sizes[l], busy[l]->version);
        transfer.add_write(id, data, store.seal(id, data));
      }
      lanes[l]->submit();
    }
    for (std::size_t l = 0; l < movers; ++l) {
      if (!busy[l]) continue;
      ASSERT_TRUE(lanes[l]->wait());
      ASSERT_TRUE(lanes[l]->transfer().ok());
      const SectionId id = busy[l]->id;
      if (busy[l]->version != 0) {
        versions[id] = busy[l]->version;
      } else {
        lanes[l]->transfer().verify(id, buffers[l]->data());
        ASSERT_TRUE(holds(buffers[l]->data(), store.payload_bytes(id), versions[id]));
      }
    }
  }
  for (const auto& [id, version] : versions) EXPECT_TRUE(reads(store, id, version));
  for (const Run& run : runs) {
    store.release(run.first, static_cast<std::int64_t>(run.sizes.size()));
  }
  EXPECT_EQ(store.allocated_bytes(), 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, StoreModelTest,
                         testing::Values(Shape{{1}, true}, Shape{{1}, false},
                                         Shape{{1, 1, 1}, true}, Shape{{5, 2, 1}, false}));

}  // namespace
}  // namespace spillway::store
