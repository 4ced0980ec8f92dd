// A full disk is found when a tensor is added, and costs nothing that was there before.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <functional>

#include "fault/engine_loop.h"
#include "support/captured_log.h"
#include "support/child_process.h"
#include "support/hog.h"
#include "support/loop_mount.h"
#include "swap/parameter_fixture.h"

namespace spillway {
namespace {

using test::EngineLoop;
using test::error_of;
using testing::HasSubstr;

constexpr std::int64_t MiB = 1024 * 1024;

// What somebody who sees the error needs to know.
void expect_no_space(const std::function<void()>& call, const std::string& tensor,
                     const std::filesystem::path& path) {
  std::string text;
  EXPECT_EQ(error_of(call, &text), Errc::no_space) << text;
  for (const std::string& word : {"\"" + tensor + "\"", path.string(), std::string("nvme_path"),
                                  std::string("bytes) more"), std::string("free")})
    EXPECT_THAT(text, HasSubstr(word));
}

class DiskFullOnAddSystemTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!mount.mounted()) GTEST_SKIP() << mount.reason();
  }
  LoopMount mount{GetParam(), 64 * MiB};
};

TEST_P(DiskFullOnAddSystemTest, AddFailsAndTheSameObjectGoesOn) {
  const CapturedLog log;
  Config config = test::small_config(OffloadDevice::nvme, mount.path());
  Context context(config);
  EngineLoop loop(context, {200'000, 10, 5000});
  const auto step = [&](std::int64_t n) {
    loop.step(n);
    loop.twin.step(n);
  };
  step(1);
  const std::int64_t allocated = context.stats().paths[0].allocated_bytes;
  const OptimizerStats before = loop.swapper.stats();

  // Larger than the whole disk: known before anything is allocated.
  expect_no_space([&] { loop.swapper.add("huge", 100 * MiB); }, "huge", mount.path());
  // The disk fills up meanwhile.
  Hog hog(mount.path());
  expect_no_space([&] { loop.swapper.add("late", 500'000); }, "late", mount.path());
  EXPECT_EQ(context.stats().paths[0].allocated_bytes, allocated);
  EXPECT_EQ(loop.swapper.stats().parameters, before.parameters);
  EXPECT_EQ(loop.swapper.stats().tiles, before.tiles);

  // Steps go on while the disk is full: their space is there.
  step(2);
  step(3);
  loop.expect_equal("while the disk is full");

  hog.leave();
  const ParamId late = loop.swapper.add("late", 500'000, {.tag = 4});
  loop.twin.add(4, 500'000);
  loop.ids.push_back(late);
  loop.home().add(3, loop.twin.params[3].w);
  step(4);
  loop.expect_equal("after space was freed");
}

// A volume takes space ahead of need; that must not make it fail where what is needed is there.
TEST_P(DiskFullOnAddSystemTest, ParametersToo) {
  const CapturedLog log;
  Context context(test::parameter_config(OffloadDevice::nvme, mount.path()));
  ParameterSwapper swapper(context);
  constexpr std::int64_t size = 200'000, large = 5'000'000;
  std::vector<ParamId> ids;
  for (std::uint64_t p = 0; p < 3; ++p) {
    ids.push_back(swapper.add("p" + std::to_string(p), size, DType::f32));
    test::put(swapper, ids[p], p, 1);
  }
  const auto expect_version = [&](std::int64_t version) {
    for (std::uint64_t p = 0; p < 3; ++p)
      EXPECT_EQ(test::copy_of(swapper.fetch(ids[p])), test::values(p, 0, size, version));
  };
  const std::int64_t allocated = context.stats().paths[0].allocated_bytes;
  expect_no_space([&] { swapper.add("huge", 100 * MiB, DType::f32); }, "huge", mount.path());
  Hog hog(mount.path());
  expect_no_space([&] { swapper.add("late", large, DType::f32); }, "late", mount.path());
  EXPECT_EQ(context.stats().paths[0].allocated_bytes, allocated);
  for (std::uint64_t p = 0; p < 3; ++p) test::put(swapper, ids[p], p, 2);
  swapper.flush();
  expect_version(2);

  hog.leave();
  const ParamId late = swapper.add("late", large, DType::f32);
  test::put(swapper, late, 3, 3, {large - 50'000, 50'000});
  swapper.flush();
  EXPECT_EQ(test::copy_of(swapper.fetch(late, Access::read, {large - 50'000, 50'000})),
            test::values(3, large - 50'000, 50'000, 3));
  expect_version(2);
}

INSTANTIATE_TEST_SUITE_P(FileSystems, DiskFullOnAddSystemTest, ::testing::Values("ext4", "tmpfs"),
                         [](const auto& kind) { return std::string(kind.param); });

// The limit is the process's own: it hits at add, not with SIGXFSZ in a step, and can be raised.
TEST(FileSizeLimitTest, AddFailsAndTheSameObjectGoesOn) {
  const test::Scratch scratch;
  const ChildEnd end = in_child([&]() -> std::string {
    const CapturedLog log;
    rlimit limit{4 * MiB, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    Context context(test::small_config(OffloadDevice::nvme, scratch.path()));
    EngineLoop loop(context, {50'000});
    const auto step = [&](std::int64_t n) {
      loop.step(n);
      loop.twin.step(n);
    };
    step(1);
    std::string text;
    const auto code = error_of([&] { loop.swapper.add("beyond", 2 * MiB); }, &text);
    if (code != Errc::no_space || text.find("RLIMIT_FSIZE") == std::string::npos ||
        text.find("\"beyond\"") == std::string::npos)
      return "not the error: " + text;
    step(2);
    limit.rlim_cur = RLIM_INFINITY;
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no other limit";
    const ParamId id = loop.swapper.add("beyond", 2 * MiB, {.tag = 2});
    loop.twin.add(2, 2 * MiB);
    loop.ids.push_back(id);
    loop.home().add(1, loop.twin.params[1].w);
    step(3);
    loop.expect_equal("in the child");
    return ::testing::Test::HasFailure() ? "other numbers" : "good";
  });
  EXPECT_EQ(end.said, "good");
  EXPECT_TRUE(end.clean()) << end.status;
  EXPECT_TRUE(scratch.empty());
}

TEST(FileSizeLimitTest, ParametersToo) {
  const test::Scratch scratch;
  const ChildEnd end = in_child([&]() -> std::string {
    const CapturedLog log;
    rlimit limit{4 * MiB, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    Context context(test::parameter_config(OffloadDevice::nvme, scratch.path()));
    ParameterSwapper swapper(context);
    const ParamId first = swapper.add("first", 200'000, DType::f32);
    test::put(swapper, first, 1, 1);
    swapper.flush();
    std::string text;
    const auto code = error_of([&] { swapper.add("beyond", 2 * MiB, DType::f32); }, &text);
    if (code != Errc::no_space || text.find("RLIMIT_FSIZE") == std::string::npos ||
        text.find("\"beyond\"") == std::string::npos)
      return "not the error: " + text;
    test::put(swapper, first, 1, 2);
    swapper.flush();
    limit.rlim_cur = RLIM_INFINITY;
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no other limit";
    const ParamId id = swapper.add("beyond", 2 * MiB, DType::f32);
    test::put(swapper, id, 2, 3, {0, 100'000});
    swapper.flush();
    if (test::copy_of(swapper.fetch(first)) != test::values(1, 0, 200'000, 2))
      return "other numbers";
    if (test::copy_of(swapper.fetch(id, Access::read, {0, 100'000})) !=
        test::values(2, 0, 100'000, 3))
      return "other numbers behind the limit";
    return "good";
  });
  EXPECT_EQ(end.said, "good");
  EXPECT_TRUE(end.clean()) << end.status;
  EXPECT_TRUE(scratch.empty());
}

}  // namespace
}  // namespace spillway
