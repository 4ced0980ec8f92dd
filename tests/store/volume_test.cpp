#include "store/volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "store/store_fixture.h"

namespace spillway::store {
namespace {

using testing::HasSubstr;

class VolumeTest : public testing::TestWithParam<bool> {
 protected:
  StoreOptions options() const {
    StoreOptions options =
        options_for({folder.folder("a"), folder.folder("b"), folder.folder("c")});
    options.checksums = GetParam();
    options.stripe_unit = 8192;
    options.weights = {2, 1, 1};
    return options;
  }
  TempDir folder;
  std::unique_ptr<io::Engine> engine = open_engine();
};

// A block that lies on several paths answers for each of them: where a file was truncated and has
// grown again, that path's part reads as zeros from some place on.
TEST_P(VolumeTest, ASealSeesZerosAtTheEndOfAnyPathsPart) {
  Volume volume(*engine, options());
  std::mt19937 random(7);
  PageMemory memory(32 * 1024);
  for (std::int64_t address = 0; address < 80 * 1024; address += 4096) {
    for (const std::int64_t bytes : {4096, 16 * 1024, 32 * 1024, 30'001, 28'673}) {
      std::byte* const data = memory.data();
      for (std::int64_t i = 0; i < bytes; ++i) data[i] = std::byte(1 + random() % 255);
      const std::uint64_t seal = volume.seal(address, data, bytes);
      EXPECT_NE(seal, 0u);
      EXPECT_EQ(volume.seal(address, data, bytes), seal);
      // By units: a part is at least one page of one of them.
      for (std::int64_t from = 0; from < bytes;) {
        const std::int64_t end = std::min(bytes, from + 8192 - (address + from) % 8192);
        const std::vector<std::byte> good(data + from, data + end);
        // The last unit of a path in this block: the next ones are on other paths, or it is the
        // end. Every unit but the first of two neighbours on the same path is one.
        std::memset(data + from, 0, static_cast<std::size_t>(end - from));
        const bool seen = volume.seal(address, data, bytes) != seal;
        std::copy(good.begin(), good.end(), data + from);
        const std::string here = volume.place(address + from, 1);
        const std::string next = end < bytes ? volume.place(address + end, 1) : "";
        const auto file_of = [](const std::string& place) {
          return place.empty() ? place : place.substr(place.find(" of "));
        };
        if (file_of(here) != file_of(next)) {
          EXPECT_TRUE(seen) << address << " + " << from << " of " << bytes;
        }
        from = end;
      }
    }
  }
}

TEST_P(VolumeTest, ASealOfZerosIsNotThatOfOtherBytes) {
  Volume volume(*engine, options());
  PageMemory memory(16 * 1024);
  std::memset(memory.data(), 0, 16 * 1024);
  const std::uint64_t zeros = volume.seal(0, memory.data(), 16 * 1024);
  EXPECT_NE(zeros, 0u);
  // Zeros at every end: then every byte counts.
  memory.data()[100] = std::byte{1};
  EXPECT_NE(volume.seal(0, memory.data(), 16 * 1024), zeros);
  memory.data()[100] = std::byte{0};
  memory.data()[9000] = std::byte{1};
  EXPECT_NE(volume.seal(0, memory.data(), 16 * 1024), zeros);
}

TEST_P(VolumeTest, APlaceNamesEveryFileThatHoldsAPart) {
  Volume volume(*engine, options());
  const std::string all = volume.place(0, 4 * 8192);
  for (const char* name : {"a", "b", "c"})
    EXPECT_THAT(all, HasSubstr(" of " + folder.text() + "/" + name + "/spillway-"));
  EXPECT_THAT(volume.place(4096, 4096), HasSubstr("offset 4096 of " + folder.text() + "/a"));
}

INSTANTIATE_TEST_SUITE_P(Seals, VolumeTest, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "checksums" : "guards");
});

}  // namespace
}  // namespace spillway::store
