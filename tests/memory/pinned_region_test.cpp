#include "memory/pinned_region.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/align.h"
#include "support/child_process.h"
#include "support/fake_cuda_driver.h"
#include "support/fake_host_memory.h"
#include "sys/limits.h"
#include "sys/text_file.h"

#include "spillway/error.h"
#include "spillway/log.h"

namespace spillway {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Collects warnings and errors while it lives.
class Warnings {
 public:
  Warnings() {
    set_log_sink([this](LogLevel level, std::string_view text) {
      if (level >= LogLevel::warning) lines.emplace_back(text);
    });
  }
  ~Warnings() { set_log_sink({}); }
  std::vector<std::string> lines;
};

class PinnedRegionTest : public ::testing::Test {
 protected:
  RegionOptions faked() { return {.pin = true, .memory = &memory_, .cuda = &cuda_}; }
  PinnedRegionTest() { cuda_.current = false; }

  FakeHostMemory memory_;
  FakeCudaDriver cuda_;
};

template <typename Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {Errc::busy, "no error was thrown"};
}

TEST_F(PinnedRegionTest, ZeroBytesAreAnEmptyRegion) {
  const PinnedRegion region(0, faked());
  EXPECT_EQ(region.data(), nullptr);
  EXPECT_EQ(region.bytes(), 0);
  EXPECT_TRUE(region.span().empty());
  EXPECT_EQ(memory_.calls, 0);
}

TEST_F(PinnedRegionTest, StartsOnTheAlignment) {
  std::vector<PinnedRegion> regions;
  for (int i = 0; i < 8; ++i) {
    regions.emplace_back(4 * KiB, RegionOptions{.alignment = 256 * KiB});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(regions.back().data()) % (256 * KiB), 0u) << i;
    EXPECT_EQ(regions.back().report().region_bytes, 4 * KiB);
  }
}

TEST_F(PinnedRegionTest, ImpossibleSizesAreRefused) {
  EXPECT_EQ(error_of([&] { PinnedRegion(-1, faked()); }).code(), Errc::invalid_argument);
  EXPECT_EQ(error_of([&] { PinnedRegion(INT64_MAX, faked()); }).code(), Errc::out_of_memory);
  const Error error = error_of([] { PinnedRegion(std::int64_t{1} << 50, {.name = "cache"}); });
  EXPECT_EQ(error.code(), Errc::out_of_memory);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("cache"), HasSubstr("1.0 PiB"),
                                  HasSubstr("reduce buffer_count or buffer_size")));
}

TEST_F(PinnedRegionTest, MapsTheRequestRoundedUpToOnePage) {
  for (const std::int64_t bytes : {std::int64_t{1}, 4 * KiB, 4 * KiB + 1, 5 * MiB + 123}) {
    const PinnedRegion region(bytes, faked());
    EXPECT_EQ(region.bytes(), bytes);
    EXPECT_EQ(region.report().region_bytes, align_up(bytes, page_bytes));
    EXPECT_EQ(memory_.mapped_bytes, align_up(bytes, page_bytes));
    EXPECT_EQ(memory_.locked_bytes, align_up(bytes, page_bytes));
  }
  EXPECT_EQ(memory_.mapped_bytes, 0);
}

TEST_F(PinnedRegionTest, TakesItsStepsInOrder) {
  RegionOptions options = faked();
  options.dump = false;
  options.numa_node = 3;
  const PinnedRegion region(4 * MiB, options);
  EXPECT_THAT(memory_.steps,
              ElementsAre("map_hugetlb", "map", "advise_dont_fork", "advise_dont_dump", "bind_node",
                          "advise_huge", "populate", "lock"));
  EXPECT_EQ(memory_.bound_node, 3);
  EXPECT_THAT(region.report().reasons, IsEmpty());
}

// Fails each step of construction in turn. Steps that only make things faster or safer cost a
// reason; the others an error. Nothing may stay mapped or locked in either case.
TEST_F(PinnedRegionTest, NothingIsLeftBehindWhicheverStepFails) {
  for (const bool must : {false, true}) {
    for (const int hugetlb : {0, 8}) {
      for (int step = 0;; ++step) {
        SCOPED_TRACE(fmt::format("require_pinned {}, hugetlb {}, step {}", must, hugetlb, step));
        Warnings warnings;
        FakeHostMemory memory;
        memory.fail_at = step;
        memory.hugetlb_pages = hugetlb;
        RegionOptions options{.pin = true,
                              .require_pinned = must,
                              .dump = false,
                              .numa_node = 0,
                              .memory = &memory,
                              .cuda = &cuda_};
        try {
          const PinnedRegion region(5 * MiB, options);
          EXPECT_EQ(warnings.lines.size(), region.report().reasons.size());
          if (step >= memory.calls) {  // no call failed
            EXPECT_THAT(region.report().reasons, IsEmpty());
            EXPECT_EQ(memory.calls, hugetlb ? 5 : 8);  // a step was added, or is not exercised
            break;
          }
          EXPECT_EQ(region.report().locked_bytes == 0, memory.failed == "lock");
          // Hugetlb pages are an offer: who has none is not told so.
          EXPECT_EQ(region.report().reasons.empty(), memory.failed == "map_hugetlb");
        } catch (const Error& error) {
          EXPECT_TRUE(error.code() == Errc::out_of_memory ||
                      (must && error.code() == Errc::memlock_limit))
              << error.what();
          EXPECT_THAT(error.what(), AllOf(HasSubstr("pool"), HasSubstr("5.0 MiB")));
        }
        EXPECT_EQ(memory.mapped_bytes, 0);
        EXPECT_EQ(memory.locked_bytes, 0);
      }
    }
  }
}

TEST_F(PinnedRegionTest, ARefusedLockIsAReasonAndOneWarning) {
  Warnings warnings;
  memory_.lock_limit = 1 * MiB;
  const PinnedRegion region(4 * MiB, faked());
  EXPECT_EQ(region.report().locked_bytes, 0);
  ASSERT_EQ(region.report().reasons.size(), 1u);
  EXPECT_THAT(region.report().reasons[0], HasSubstr("not locked"));
  EXPECT_EQ(warnings.lines.size(), 1u);
}

TEST_F(PinnedRegionTest, WithoutPinNothingIsLockedAndNothingWarned) {
  Warnings warnings;
  cuda_.current = true;
  memory_.huge_share = 0.5;  // would be worth a warning for a pinned pool
  const PinnedRegion region(8 * MiB, {.memory = &memory_, .cuda = &cuda_});
  EXPECT_FALSE(memory_.did("lock"));
  EXPECT_EQ(cuda_.registrations, 0);
  EXPECT_EQ(region.report().huge_bytes, 4 * MiB);
  EXPECT_EQ(region.report().reasons.size(), 1u);
  EXPECT_THAT(warnings.lines, IsEmpty());
}

TEST_F(PinnedRegionTest, WithoutPrefaultPagesComeWhenTouched) {
  const PinnedRegion region(8 * MiB, {.prefault = false, .memory = &memory_, .cuda = &cuda_});
  EXPECT_FALSE(memory_.did("populate"));
  EXPECT_FALSE(memory_.did("map_hugetlb"));  // a missing page would be a SIGBUS
  EXPECT_TRUE(memory_.did("advise_huge"));
}

TEST_F(PinnedRegionTest, PrefaultsEveryByteOnce) {
  const PinnedRegion region(50 * MiB + 4 * KiB, faked());
  EXPECT_EQ(memory_.populated_bytes, region.report().region_bytes);
}

TEST_F(PinnedRegionTest, RegistersWithCudaInsteadOfMlock) {
  cuda_.current = true;
  {
    const PinnedRegion region(4 * MiB, faked());
    EXPECT_EQ(region.report().cuda_bytes, 4 * MiB);
    EXPECT_EQ(region.report().locked_bytes, 0);
    EXPECT_EQ(cuda_.registered_bytes, 4 * MiB);
    EXPECT_FALSE(memory_.did("lock"));
  }
  EXPECT_EQ(cuda_.registered_bytes, 0);
}

TEST_F(PinnedRegionTest, FallsBackToMlockWhereCudaRefuses) {
  Warnings warnings;
  cuda_.current = true;
  cuda_.result = 2;
  const PinnedRegion region(4 * MiB, faked());
  EXPECT_EQ(region.report().cuda_bytes, 0);
  EXPECT_EQ(region.report().locked_bytes, 4 * MiB);
  ASSERT_EQ(warnings.lines.size(), 1u);
  EXPECT_THAT(warnings.lines[0], HasSubstr("CUDA_ERROR_FAKE"));
}

TEST_F(PinnedRegionTest, UsesHugetlbPagesWhereTheyAreSetAside) {
  memory_.hugetlb_pages = 3;
  const PinnedRegion region(5 * MiB, faked());
  EXPECT_TRUE(region.report().hugetlb);
  EXPECT_EQ(region.report().region_bytes, 6 * MiB);
  EXPECT_EQ(region.report().huge_bytes, 6 * MiB);
  EXPECT_EQ(region.report().locked_bytes, 6 * MiB);  // never swapped
  const PinnedRegion too_many(7 * MiB, faked());
  EXPECT_FALSE(too_many.report().hugetlb);
  const PinnedRegion small(1 * MiB, faked());  // would take a page twice its size
  EXPECT_FALSE(small.report().hugetlb);
}

TEST_F(PinnedRegionTest, HugePagesOffAsksForSmallOnes) {
  memory_.hugetlb_pages = 3;
  RegionOptions options = faked();
  options.huge_pages = Switch::off;
  const PinnedRegion region(4 * MiB, options);
  EXPECT_TRUE(memory_.did("advise_small"));
  EXPECT_FALSE(memory_.did("map_hugetlb"));
  EXPECT_EQ(region.report().huge_bytes, 0);
  EXPECT_THAT(region.report().reasons, IsEmpty());
}

TEST_F(PinnedRegionTest, HugePagesOnIsAnErrorUnlessAllAre) {
  RegionOptions options = faked();
  options.huge_pages = Switch::on;
  EXPECT_NO_THROW(PinnedRegion(5 * MiB, options));  // 4 MiB huge, and a tail
  memory_.huge_share = 0.9;
  EXPECT_EQ(error_of([&] { PinnedRegion(8 * MiB, options); }).code(), Errc::unsupported);
  memory_.huge_share = 1;
  memory_.huge_known = false;
  const Error error = error_of([&] { PinnedRegion(8 * MiB, options); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("huge_pages is on"), HasSubstr("vm.nr_hugepages")));
  EXPECT_EQ(memory_.mapped_bytes, 0);
}

TEST_F(PinnedRegionTest, MovesLeaveNothingBehind) {
  PinnedRegion first(2 * MiB, faked());
  std::byte* const at = first.data();
  PinnedRegion second(std::move(first));
  EXPECT_EQ(second.data(), at);
  PinnedRegion third(4 * MiB, faked());
  third = std::move(second);
  EXPECT_EQ(third.data(), at);
  EXPECT_EQ(memory_.mapped_bytes, 2 * MiB);
  third = PinnedRegion();
  EXPECT_EQ(memory_.mapped_bytes, 0);
}

TEST_F(PinnedRegionTest, AbandonedMemoryStaysMapped) {
  { PinnedRegion(2 * MiB, faked()).abandon(); }
  EXPECT_EQ(memory_.mapped_bytes, 2 * MiB);
}

// From here on the kernel's own pages.

/// Hugetlb pages need no lock and count in no figure of the process.
bool has_hugetlb() {
  const auto pages = sys::read_text("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
  return sys::leading_number(pages).value_or(0) > 0;
}

TEST(PinnedRegionOnKernelTest, LocksExactlyWhatItMaps) {
  if (!sys::memory_limits().memlock_exempt) GTEST_SKIP() << "needs CAP_IPC_LOCK";
  if (has_hugetlb()) GTEST_SKIP() << "hugetlb pages are set aside, and would be used instead";
  const std::int64_t bytes = 20 * MiB + 5000;
  const std::int64_t locked = sys::locked_bytes(), resident = sys::resident_bytes();
  const PinnedRegion region(bytes, {.pin = true});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.data()) % huge_page_bytes, 0u);
  EXPECT_EQ(sys::locked_bytes() - locked, align_up(bytes, page_bytes));
  EXPECT_EQ(region.report().locked_bytes, align_up(bytes, page_bytes));
  EXPECT_GE(sys::resident_bytes() - resident, bytes - 1 * MiB);
  EXPECT_LE(sys::resident_bytes() - resident, bytes + 16 * MiB);  // sanitizers have their share
  EXPECT_TRUE(std::all_of(region.span().begin(), region.span().end(),
                          [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST(PinnedRegionOnKernelTest, UnpinnedLocksNothingAndGivesAllBack) {
  const std::int64_t locked = sys::locked_bytes(), resident = sys::resident_bytes();
  {
    const PinnedRegion region(20 * MiB, {});
    EXPECT_EQ(sys::locked_bytes(), locked);
    EXPECT_GE(region.report().huge_bytes, 0);
    EXPECT_LE(region.report().huge_bytes, 20 * MiB);
  }
  EXPECT_LE(sys::resident_bytes() - resident, 16 * MiB);
}

TEST(PinnedRegionOnKernelTest, HugetlbPagesWhereTheyAreSetAside) {
  if (!has_hugetlb()) GTEST_SKIP() << "no hugetlb pages are set aside (vm.nr_hugepages)";
  PinnedRegion region(1, {});
  EXPECT_FALSE(region.report().hugetlb);
  region = PinnedRegion(2 * MiB, {.pin = true, .huge_pages = Switch::on});
  EXPECT_TRUE(region.report().hugetlb);
  EXPECT_EQ(region.report().huge_bytes, 2 * MiB);
  std::fill(region.span().begin(), region.span().end(), std::byte{1});
  const ChildEnd end = in_child([&] {
    unsigned char resident = 0;
    const bool mapped = ::mincore(region.data(), page_bytes, &resident) == 0;
    return std::string(mapped && region.data()[0] == std::byte{1} ? "there" : "absent");
  });
  EXPECT_EQ(end.said, "absent");
}

TEST(PinnedRegionOnKernelTest, AForkedChildNeitherSeesNorFreesIt) {
  PinnedRegion region(4 * MiB, {});
  region.data()[0] = std::byte{42};
  const ChildEnd end = in_child([&] {
    unsigned char resident = 0;
    const bool mapped = ::mincore(region.data(), page_bytes, &resident) == 0;
    const bool there = mapped && region.data()[0] == std::byte{42};  // and not a sanitizer's page
    region = PinnedRegion();  // must leave alone what now lies at these addresses
    return std::string(there ? "there" : "absent");
  });
  EXPECT_EQ(end.said, "absent");
  EXPECT_TRUE(end.clean());
  EXPECT_EQ(region.data()[0], std::byte{42});
}

/// A region for an ordinary user who may lock `limit`; what became of it, in words.
ChildEnd as_ordinary_user(std::int64_t limit, std::int64_t bytes, bool required) {
  return in_child([=]() -> std::string {
    limit_locked_memory(limit);
    become_nobody();
    ::prctl(PR_SET_DUMPABLE, 1);  // else /proc/self is root's after the change of user
    Warnings warnings;
    const PinnedRegion region(bytes, {.pin = true, .require_pinned = required});
    region.data()[bytes - 1] = std::byte{1};
    return fmt::format("locked {} reasons {} warnings {}: {}", region.report().locked_bytes,
                       region.report().reasons.size(), warnings.lines.size(),
                       region.report().reasons.empty() ? "" : region.report().reasons.back());
  });
}

TEST(PinnedRegionOnKernelTest, AnOrdinaryUserBelowTheLimitGoesOnUnlocked) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become an ordinary user";
  if (has_hugetlb()) GTEST_SKIP() << "hugetlb pages are set aside, and would be used instead";
  for (const std::int64_t limit : {std::int64_t{0}, 8 * MiB}) {
    const ChildEnd end = as_ordinary_user(limit, 12 * MiB, false);
    EXPECT_TRUE(end.clean()) << end.said;
    EXPECT_THAT(end.said, AllOf(HasSubstr("locked 0 "), HasSubstr("`ulimit -l 12288`"),
                                HasSubstr("needs RLIMIT_MEMLOCK 12.0 MiB"),
                                HasSubstr(limit == 0 ? "it is 0 bytes" : "it is 8.0 MiB"),
                                HasSubstr("/etc/security/limits.conf")));
  }
}

TEST(PinnedRegionOnKernelTest, AnOrdinaryUserWhoMustPinGetsOneError) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become an ordinary user";
  if (has_hugetlb()) GTEST_SKIP() << "hugetlb pages are set aside, and would be used instead";
  for (const std::int64_t limit : {std::int64_t{0}, 8 * MiB}) {
    const ChildEnd end = as_ordinary_user(limit, 12 * MiB, true);
    EXPECT_TRUE(end.clean());
    EXPECT_THAT(end.said, AllOf(HasSubstr("exception: pool: require_pinned is on"),
                                HasSubstr("`ulimit -l 12288`"), HasSubstr("12.0 MiB")));
    EXPECT_EQ(end.said.find('\n'), std::string::npos);
  }
}

TEST(PinnedRegionOnKernelTest, AnOrdinaryUserWithinTheLimitLocks) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become an ordinary user";
  if (has_hugetlb()) GTEST_SKIP() << "hugetlb pages are set aside, and would be used instead";
  // Not above the hard limit: raising that takes a capability that containers often lack.
  const ChildEnd end = as_ordinary_user(4 * MiB, 4 * MiB, true);
  EXPECT_THAT(end.said, HasSubstr(fmt::format("locked {} reasons 0 warnings 0", 4 * MiB)));
}

}  // namespace
}  // namespace spillway
