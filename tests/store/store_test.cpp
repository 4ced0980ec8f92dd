#include "store/store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "store/store_fixture.h"
#include "sys/limits.h"

namespace spillway::store {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class StoreTest : public testing::Test {
 protected:
  TempDir folder;
  std::unique_ptr<io::Engine> engine = open_engine();
};

TEST_F(StoreTest, WritesAndReadsBack) {
  for (const bool checksums : {true, false}) {
    StoreOptions options = options_for({folder.path()});
    options.checksums = checksums;
    Store store(*engine, options);
    const SectionId first = store.reserve(Sizes{4096, 4097, 1, 100'000}, 2, 2);
    for (int i = 0; i < 4; ++i) {
      EXPECT_FALSE(store.written(at(first, i)));
      EXPECT_TRUE(write(store, at(first, i), 10u + static_cast<unsigned>(i)));
      EXPECT_TRUE(store.written(at(first, i)));
    }
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(reads(store, at(first, i), 10u + static_cast<unsigned>(i)));
    }
    for (unsigned version = 20; version < 30; ++version) {
      EXPECT_TRUE(write(store, first, version));
      EXPECT_TRUE(reads(store, first, version));
    }
  }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST_F(StoreTest, SeveralPathsShareEverySection) {
  StoreOptions options = options_for({folder.folder("a"), folder.folder("b"), folder.folder("c")});
  options.weights = {2, 1, 1};
  options.stripe_unit = 8192;
  Store store(*engine, options);
  const SectionId first = store.reserve(Sizes{40 * 8192, 40 * 8192}, 1, 1);
  EXPECT_TRUE(write(store, first, 1));
  EXPECT_TRUE(write(store, at(first, 1), 2));
  EXPECT_TRUE(reads(store, first, 1));
  EXPECT_TRUE(reads(store, at(first, 1), 2));
  const auto reports = store.report();
  ASSERT_EQ(reports.size(), 3u);
  EXPECT_EQ(reports[0].written_bytes, 2 * 20 * 8192);
  EXPECT_EQ(reports[1].written_bytes, 2 * 10 * 8192);
  EXPECT_EQ(reports[2].read_bytes, 2 * 10 * 8192);
  EXPECT_EQ(reports[0].allocated_bytes, 4 * 20 * 8192);
}

TEST_F(StoreTest, OneRequestPerSectionOnOnePath) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{3 * MiB}, 1, 1);
  const auto before = engine->stats().write.latency.count();
  EXPECT_TRUE(write(store, id, 1));
  EXPECT_EQ(engine->stats().write.latency.count() - before, 1);
}

TEST_F(StoreTest, ATransferFlipsAllItsSectionsTogether) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId first = store.reserve(Sizes{5000, 6000, 7000}, 3, 1);
  PageMemory buffer(3 * 8192);
  Mover mover(store, 3);
  for (unsigned round = 0; round < 3; ++round) {
    mover.transfer().clear();
    for (int i = 0; i < 3; ++i) {
      std::byte* const data = buffer.data() + i * 8192;
      fill(data, store.payload_bytes(at(first, i)), round * 10 + static_cast<unsigned>(i));
      mover.transfer().add_write(at(first, i), data, store.seal(at(first, i), data));
    }
    EXPECT_EQ(mover.transfer().bytes(), 3 * 8192);
    mover.submit(io::Service::write);
    ASSERT_TRUE(mover.wait());
    ASSERT_TRUE(mover.transfer().ok());
    EXPECT_EQ(mover.transfer().failed(), no_section);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(reads(store, at(first, i), round * 10 + static_cast<unsigned>(i)));
    }
  }
}

TEST_F(StoreTest, SealWipesThePadding) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{100}, 1, 1);
  PageMemory buffer(4096);
  std::memset(buffer.data(), 0x77, 4096);
  static_cast<void>(store.seal(id, buffer.data()));
  EXPECT_EQ(buffer.data()[99], std::byte{0x77});
  for (int i = 100; i < 4096; ++i) ASSERT_EQ(buffer.data()[i], std::byte{0});
}

TEST_F(StoreTest, SpaceIsReallyAllocatedAndReallyGivenBack) {
  Store store(*engine, options_for({folder.path()}));
  EXPECT_EQ(store.allocated_bytes(), 0);
  const SectionId first = store.reserve(Sizes(64, 64 * KiB), 1, 1);
  EXPECT_EQ(store.allocated_bytes(), 66 * 64 * KiB);
  struct stat facts {};
  ASSERT_EQ(::fstat(engine->file(store.report()[0].file).fd, &facts), 0);
  EXPECT_EQ(facts.st_size, 66 * 64 * KiB);
  EXPECT_GE(facts.st_blocks * 512, 66 * 64 * KiB);
  EXPECT_EQ(facts.st_mode & 07777u, 0600u);
  EXPECT_EQ(facts.st_nlink, 0u);
  store.release(first, 64);
  EXPECT_EQ(store.allocated_bytes(), 0);
  ASSERT_EQ(::fstat(engine->file(store.report()[0].file).fd, &facts), 0);
  EXPECT_EQ(facts.st_blocks, 0);
}

TEST_F(StoreTest, ForgottenSectionsAreUnwritten) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{4096}, 1, 0);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(write(store, id, 1));
    store.forget(id);
    EXPECT_FALSE(store.written(id));
    store.forget(id);
  }
}

TEST_F(StoreTest, ReadsBesideAnOverwriteGetTheOld) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{64 * KiB}, 1, 1);
  ASSERT_TRUE(write(store, id, 0));
  PageMemory in(64 * KiB), out(64 * KiB);
  Mover reader(store, 1), writer(store, 1);
  for (unsigned version = 1; version < 200; ++version) {
    fill(out.data(), out.bytes(), version);
    writer.transfer().clear();
    writer.transfer().add_write(id, out.data(), store.seal(id, out.data()));
    reader.transfer().clear();
    reader.transfer().add_read(id, in.data());
    reader.submit();
    writer.submit(io::Service::write);
    ASSERT_TRUE(reader.wait());
    ASSERT_TRUE(writer.wait());
    ASSERT_TRUE(reader.transfer().ok() && writer.transfer().ok());
    reader.transfer().verify(id, in.data());
    ASSERT_TRUE(holds(in.data(), in.bytes(), version - 1));
  }
}

TEST_F(StoreTest, TransfersLargerThanBeforeAreLegal) {
  StoreOptions options = options_for({folder.folder("a"), folder.folder("b")});
  options.stripe_unit = 4096;
  Store store(*engine, options);
  Mover mover(store, 1);  // made when there was nothing to transfer
  const SectionId id = store.reserve(Sizes{MiB}, 1, 1);
  PageMemory buffer(MiB);
  fill(buffer.data(), MiB, 3);
  mover.transfer().add_write(id, buffer.data(), store.seal(id, buffer.data()));
  mover.submit();
  ASSERT_TRUE(mover.wait());
  EXPECT_TRUE(mover.transfer().ok());
  EXPECT_TRUE(reads(store, id, 3));
}

// The callback may start the next round by itself.
struct Chain {
  Chain(Store& the_store, SectionId section) : store(the_store), id(section) {}

  Store& store;
  SectionId id;
  PageMemory buffer{4096};
  std::mutex mutex;
  std::condition_variable changed;
  int left = 50;

  static void next(Transfer& of, void* context) {
    Chain& chain = *static_cast<Chain*>(context);
    const std::lock_guard lock(chain.mutex);
    EXPECT_TRUE(of.ok());
    if (--chain.left == 0) return chain.changed.notify_all();
    of.clear();
    fill(chain.buffer.data(), 4096, static_cast<unsigned>(chain.left));
    of.add_write(chain.id, chain.buffer.data(), chain.store.seal(chain.id, chain.buffer.data()));
    of.submit(io::Service::write, &Chain::next, context);
  }
};

TEST_F(StoreTest, CallbacksMaySubmitAgain) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{4096}, 1, 1);
  Chain chain(store, id);
  Transfer transfer(store, 1);
  transfer.add_write(id, chain.buffer.data(), store.seal(id, chain.buffer.data()));
  transfer.submit(io::Service::write, &Chain::next, &chain);
  {
    std::unique_lock lock(chain.mutex);
    ASSERT_TRUE(
        chain.changed.wait_for(lock, std::chrono::seconds(60), [&] { return chain.left == 0; }));
  }
  EXPECT_TRUE(reads(store, id, 1));
}

TEST_F(StoreTest, TheReportSaysWhatIsInForce) {
  Store store(*engine, options_for({folder.path()}));
  const PathReport report = store.report()[0];
  EXPECT_EQ(report.path, folder.text());
  EXPECT_THAT(report.directory, testing::StartsWith(folder.text() + "/spillway-"));
  EXPECT_FALSE(report.file_system.empty());
  EXPECT_FALSE(report.how.empty());
  EXPECT_GE(report.alignment, 4096);
  EXPECT_EQ(store.alignment(), report.alignment);
}

// What lies beyond 4 GiB of a file is as good as the rest. Allocation alone is quick.
TEST_F(StoreTest, OffsetsBeyondFourGibibytes) {
  Store store(*engine, options_for({folder.path()}));
  const std::int64_t big = 5 * GiB + 4096;
  const std::int64_t free = static_cast<std::int64_t>(std::filesystem::space(folder.path()).free);
  if (store.report()[0].memory || free < 4 * big) GTEST_SKIP() << "not enough free space here";
  const SectionId far = store.reserve(Sizes{big}, 1, 0);
  EXPECT_EQ(store.allocated_bytes(), 2 * big);
  EXPECT_EQ(store.payload_bytes(far), big);
  const SectionId id = store.reserve(Sizes{100'000}, 1, 1);
  EXPECT_TRUE(write(store, id, 1));
  EXPECT_TRUE(reads(store, id, 1));
  const auto found = reads(store, id, 2);
  EXPECT_FALSE(found);
  store.release(far, 1);
  EXPECT_TRUE(reads(store, id, 1));
  EXPECT_TRUE(write(store, id, 3));
  EXPECT_TRUE(reads(store, id, 3));
}

// Reservations come and go while others read and write.
TEST_F(StoreTest, AllMembersFromAnyThread) {
  StoreOptions options = options_for({folder.folder("a"), folder.folder("b")});
  options.stripe_unit = 4096;
  Store store(*engine, options);
  const SectionId first = store.reserve(Sizes(6, 20'000), 2, 2);
  std::atomic<bool> stop{false};
  std::thread shaper([&] {
    for (int i = 0; i < 30; ++i) {
      const SectionId more = store.reserve(Sizes(5, 20'000 + i * 3000), 1, 1, 1);
      static_cast<void>(write(store, more, 1));
      static_cast<void>(store.report());
      store.release(more, 5);
    }
    stop = true;
  });
  std::vector<std::thread> users;
  for (int user = 0; user < 3; ++user) {
    users.emplace_back([&, user] {
      for (unsigned version = 0; !stop; ++version) {
        for (const SectionId id : {at(first, 2 * user), at(first, 2 * user + 1)}) {
          EXPECT_TRUE(write(store, id, version));
          EXPECT_TRUE(reads(store, id, version));
        }
      }
    });
  }
  shaper.join();
  for (std::thread& user : users) user.join();
}

// -- what users get wrong

TEST_F(StoreTest, BadPathsAndSettingsAreNamed) {
  const auto fails = [&](const StoreOptions& options) {
    return error_from([&] { Store store(*engine, options); });
  };
  const Error missing = fails(options_for({folder.path() / "nothing"}));
  EXPECT_EQ(missing.code(), Errc::not_found);
  EXPECT_THAT(missing.what(), HasSubstr((folder.path() / "nothing").string()));

  std::ofstream(folder.path() / "file") << "x";
  const Error file = fails(options_for({folder.path() / "file"}));
  EXPECT_EQ(file.code(), Errc::invalid_config);
  EXPECT_THAT(file.what(), HasSubstr("not a directory"));

  EXPECT_EQ(fails(options_for({})).code(), Errc::invalid_config);

  StoreOptions weights = options_for({folder.path()});
  weights.weights = {1, 2};
  EXPECT_THAT(fails(weights).what(), HasSubstr("path_weights"));
  weights.weights = {0};
  EXPECT_THAT(fails(weights).what(), HasSubstr("path_weights"));
  StoreOptions unit = options_for({folder.path()});
  unit.stripe_unit = 0;
  EXPECT_THAT(fails(unit).what(), HasSubstr("stripe_unit"));

  // The first path of a list is given back when the second is bad.
  const auto good = folder.folder("good");
  EXPECT_EQ(fails(options_for({good, folder.path() / "nothing"})).code(), Errc::not_found);
  EXPECT_THAT(TempDir::names_in(good), IsEmpty());
}

TEST_F(StoreTest, MoreThanTheDiskHolds) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId before = store.reserve(Sizes{8192}, 1, 1);
  ASSERT_TRUE(write(store, before, 1));
  const std::int64_t allocated = store.allocated_bytes();
  const Sizes much(1000, std::int64_t{1} << 40);
  const Error error = error_from([&] { store.reserve(much, 1, 1); });
  EXPECT_EQ(error.code(), Errc::no_space);
  EXPECT_THAT(error.what(), HasSubstr(folder.text()));
  EXPECT_THAT(error.what(), HasSubstr("free"));
  EXPECT_EQ(store.allocated_bytes(), allocated);
  EXPECT_TRUE(reads(store, before, 1));
  EXPECT_EQ(store.reserve(Sizes{4096}, 1, 1), at(before, 1)) << "no id was lost";
}

// -- what changes behind our back

class CorruptionTest : public StoreTest, public testing::WithParamInterface<bool> {};

TEST_P(CorruptionTest, ATruncatedAndGrownFileIsCorrupt) {
  StoreOptions options = options_for({folder.path()});
  options.checksums = GetParam();
  Store store(*engine, options);
  const SectionId id = store.reserve(Sizes{40'000}, 1, 1);
  ASSERT_TRUE(write(store, id, 1));
  // As another process could, through /proc.
  const std::string file =
      "/proc/self/fd/" + std::to_string(engine->file(store.report()[0].file).fd);
  const std::int64_t size = store.allocated_bytes();
  ASSERT_EQ(::truncate(file.c_str(), 0), 0);
  {
    PageMemory buffer(store.footprint(id));
    Mover mover(store, 1);
    mover.transfer().add_read(id, buffer.data());
    mover.submit();
    ASSERT_TRUE(mover.wait());
    ASSERT_FALSE(mover.transfer().ok());
    EXPECT_EQ(mover.transfer().error().code(), Errc::corrupt);
    EXPECT_EQ(mover.transfer().failed(), id);
  }
  ASSERT_EQ(::truncate(file.c_str(), size), 0);
  PageMemory buffer(store.footprint(id));
  Mover mover(store, 1);
  mover.transfer().add_read(id, buffer.data());
  mover.submit();
  ASSERT_TRUE(mover.wait());
  ASSERT_TRUE(mover.transfer().ok());
  const Error error = error_from([&] { mover.transfer().verify(id, buffer.data()); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_THAT(error.what(), HasSubstr(store.report()[0].directory));
  EXPECT_THAT(error.what(), HasSubstr("offset 0 of"));
}

// Sections striped over three paths, of one to five units: whichever file is truncated, for a
// moment only, each section that had a part there is corrupt and names it, and no other is.
TEST_P(CorruptionTest, EachOfSeveralFilesAnswersForItsPart) {
  const std::vector<std::filesystem::path> paths{folder.folder("a"), folder.folder("b"),
                                                 folder.folder("c")};
  const Sizes sizes{4096, 8192, 12288, 20000, 20480, 100, 16384, 9000};
  for (const bool allocated_again : {false, true}) {
    for (std::size_t victim = 0; victim < paths.size(); ++victim) {
      StoreOptions options = options_for(paths);
      options.checksums = GetParam();
      options.stripe_unit = 4096;
      options.weights = {2, 1, 1};
      Store store(*engine, options);
      const SectionId first = store.reserve(sizes, 1, 1);
      std::vector<std::int64_t> parts;  // [bytes] of each section on the victim
      for (int i = 0; i < static_cast<int>(sizes.size()); ++i) {
        const auto before = store.report()[victim].written_bytes;
        ASSERT_TRUE(write(store, at(first, i), 1));
        parts.push_back(store.report()[victim].written_bytes - before);
        ASSERT_TRUE(reads(store, at(first, i), 1));
      }
      const std::int64_t size = store.report()[victim].allocated_bytes;
      const int fd = engine->file(store.report()[victim].file).fd;
      ASSERT_EQ(::ftruncate(fd, 0), 0);
      ASSERT_EQ(allocated_again ? ::fallocate(fd, 0, 0, size) : ::ftruncate(fd, size), 0);
      int hurt = 0;
      for (int i = 0; i < static_cast<int>(sizes.size()); ++i) {
        const auto result = reads(store, at(first, i), 1);
        const bool has_part = parts[static_cast<std::size_t>(i)] > 0;
        EXPECT_EQ(static_cast<bool>(result), !has_part)
            << "section " << i << " on path " << victim << ": " << result.message();
        hurt += has_part;
        if (!result && !GetParam()) {
          EXPECT_THAT(result.message(), HasSubstr("on " + paths[victim].string()));
        }
        if (!result) {
          EXPECT_THAT(result.message(), HasSubstr("not what was written"));
        }
        // What is written again is whole again.
        ASSERT_TRUE(write(store, at(first, i), 2));
        EXPECT_TRUE(reads(store, at(first, i), 2));
      }
      EXPECT_GT(hurt, 1);
    }
  }
}

// A device that answers with another place's bytes: both sections are sound in themselves.
TEST_P(CorruptionTest, AnotherSectionsBytesAreCorrupt) {
  StoreOptions options = options_for({folder.path()});
  options.checksums = GetParam();
  Store store(*engine, options);
  const SectionId first = store.reserve(Sizes{5000, 5000}, 1, 1);
  ASSERT_TRUE(write(store, first, 7));
  // A trailer tells even the same contents apart; for a checksum they are as good as the right
  // ones.
  ASSERT_TRUE(write(store, at(first, 1), GetParam() ? 8 : 7));
  const std::int64_t footprint = store.footprint(first);
  PageMemory buffer(2 * footprint);
  Mover mover(store, 2);
  for (int i = 0; i < 2; ++i)
    mover.transfer().add_read(at(first, i), buffer.data() + i * footprint);
  mover.submit();
  ASSERT_TRUE(mover.wait());
  EXPECT_NO_THROW(mover.transfer().verify(first, buffer.data()));
  const Error error = error_from([&] { mover.transfer().verify(at(first, 1), buffer.data()); });
  EXPECT_EQ(error.code(), Errc::corrupt);
}

INSTANTIATE_TEST_SUITE_P(Seals, CorruptionTest, testing::Bool(),
                         [](const auto& with) { return with.param ? "checksums" : "trailers"; });

TEST_F(StoreTest, OneFlippedBitIsCorrupt) {
  Store store(*engine, options_for({folder.path()}));
  const SectionId id = store.reserve(Sizes{40'000}, 1, 1);
  ASSERT_TRUE(write(store, id, 1));
  PageMemory page(4096);
  const int fd = engine->file(store.report()[0].file).fd;
  ASSERT_EQ(::pread(fd, page.data(), 4096, 8192), 4096);
  page.data()[77] ^= std::byte{4};
  ASSERT_EQ(::pwrite(fd, page.data(), 4096, 8192), 4096);
  const auto result = reads(store, id, 1);
  EXPECT_FALSE(result);
  EXPECT_THAT(result.message(), HasSubstr("checksum"));
}

TEST_F(StoreTest, DescriptorsComeBack) {
  const int before = sys::open_descriptors();
  for (int i = 0; i < 20; ++i) {
    Store store(*engine, options_for({folder.path()}));
    ASSERT_TRUE(write(store, store.reserve(Sizes{4096}, 1, 1), 1));
  }
  EXPECT_EQ(sys::open_descriptors(), before);
}

}  // namespace
}  // namespace spillway::store
