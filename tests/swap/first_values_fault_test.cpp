// Parameters that cannot be read while masters are filled from them: the step fails with what and
// where, changes nothing, and ends right when it is begun again.

#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "swap/fake_house.h"
#include "swap/mixed_precision.h"

namespace spillway {
namespace {

using io::FakeDevice;
using io::FakeOp;
using io::Op;
using test::error_of;
using test::Home;

constexpr std::int64_t file_bytes = 4 * 1024 * 1024;

struct Rig {
  test::Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(4 * file_bytes);
  Context context;
  test::MixedTrainer trainer;

  Rig(const Home& home, bool fast_init)
      : context(test::context_in(
            std::make_shared<test::FakeHouse>(config(home, fast_init, scratch), parted(device)))),
        trainer(context, DType::bf16, {20000, 1, 600, 4097}) {
    trainer.empty_pool(512 * 1024);
  }
  static std::shared_ptr<FakeDevice> parted(std::shared_ptr<FakeDevice> device) {
    device->separate_files(file_bytes);
    return device;
  }
  static Config config(const Home& home, bool fast_init, const test::Scratch& scratch) {
    Config config = test::mixed_config(home, scratch.path());
    config.offload_optimizer.fast_init = fast_init;
    return config;
  }
  void fail_at(std::int64_t n, bool lasting, std::optional<Op> kind = std::nullopt) {
    const std::int64_t at = device->started() + n;
    device->plan([=](const FakeOp& op) -> std::int64_t {
      const bool hit = lasting ? op.number >= at : op.number == at;
      return hit && (!kind || op.op == *kind) ? -EIO : op.bytes;
    });
  }
};

class FirstValuesFaultTest : public ::testing::TestWithParam<std::tuple<Home, bool>> {};

INSTANTIATE_TEST_SUITE_P(
    Places, FirstValuesFaultTest,
    ::testing::Combine(::testing::Values(Home{.ratio = 0}, Home{.ratio = 0.5}, Home{.ratio = 1},
                                         Home{.pipeline_read = false, .pipeline_write = false}),
                       ::testing::Bool()),
    [](const auto& one) {
      return test::describe(std::get<0>(one.param)) + (std::get<1>(one.param) ? "_fast" : "_slow");
    });

TEST_P(FirstValuesFaultTest, EachOperationOfTheFirstStepFailsOnce) {
  const auto& [home, fast_init] = GetParam();
  for (std::int64_t n = 0;; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    Rig rig(home, fast_init);
    rig.fail_at(n, false);
    const std::int64_t before = rig.device->started();
    std::string text;
    const auto code = error_of([&] { rig.trainer.step(1); }, &text);
    const bool over = rig.device->started() <= before + n;
    rig.device->plan({});
    // (Mostly there is none: what was read ahead and failed is read again by who needs it.)
    if (code) {
      EXPECT_EQ(code, Errc::io_error) << text;
      rig.trainer.step(1);
    }
    rig.trainer.twin.step(1);
    rig.trainer.both(2);
    rig.trainer.expect_equal("after two steps");
    if (over) {
      EXPECT_FALSE(code);
      break;
    }
  }
}

TEST_P(FirstValuesFaultTest, ReadsFailForEverAndSayWhere) {
  const auto& [home, fast_init] = GetParam();
  Rig rig(home, fast_init);
  rig.fail_at(0, true, Op::read);
  std::string text;
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_EQ(error_of([&] { rig.trainer.step(1); }, &text), Errc::io_error);
    for (const char* word : {"optimizer", "tile", "\"p0\"", "state \"w\"", "first values",
                             "\"lp0\"", "offset", "spillway"})
      EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in: " << text;
  }
  std::vector<float> values(100);
  EXPECT_EQ(
      error_of([&] { rig.trainer.hp.read_state<float>(rig.trainer.hp_ids[0], "w", 0, values); },
               &text),
      Errc::io_error);
  EXPECT_NE(text.find("\"lp0\""), std::string::npos) << text;
  rig.device->plan({});
  rig.trainer.both(1);
  rig.trainer.expect_equal("after the step");
}

TEST_P(FirstValuesFaultTest, ChangedBytesNeverBecomeMasters) {
  const auto& [home, fast_init] = GetParam();
  Rig rig(home, fast_init);
  const auto flip = [&] {
    rig.device->hold();  // what is read ahead
    for (std::byte& byte : rig.device->memory()) byte ^= std::byte{1};
    rig.device->release();
  };
  flip();
  std::string text;
  EXPECT_EQ(error_of([&] { rig.trainer.step(1); }, &text), Errc::corrupt);
  EXPECT_NE(text.find("\"lp"), std::string::npos) << text;
  flip();
  // What was read ahead meanwhile is found wrong when its turn comes, and read again after that.
  for (int tiles = 0; tiles < 8; ++tiles) {
    const auto code = error_of([&] { rig.trainer.step(1); });
    if (!code) break;
    ASSERT_EQ(code, Errc::corrupt);
  }
  rig.trainer.twin.step(1);
  rig.trainer.expect_equal("after the step");
}

}  // namespace
}  // namespace spillway
