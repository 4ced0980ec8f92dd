// A disk that does whatever disks do, at random, under random calls: every step ends as in plain
// memory. Short transfers of any length, EINTR, EAGAIN, lasting errors, completions out of order
// and after the pass that asked for them was left.

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <random>
#include <thread>

#include "fault/engine_loop.h"
#include "support/captured_log.h"
#include "swap/fake_house.h"

namespace spillway {
namespace {

using io::FakeDevice;
using io::FakeOp;
using test::EngineLoop;
using test::error_of;

constexpr std::int64_t file_bytes = 8 * 1024 * 1024;

// A slow device: what is started ends a little later, a few at a time.
class Trickle {
 public:
  explicit Trickle(FakeDevice& device) : device_(device) {
    device_.hold();
    thread_ = std::thread([this] {
      while (!over_) {
        device_.release(2);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    });
  }
  ~Trickle() {
    over_ = true;
    thread_.join();
    device_.release();
  }

 private:
  FakeDevice& device_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

class FaultModel {
 public:
  explicit FaultModel(unsigned seed)
      : random_(seed),
        attached_(pick(0, 1) == 1),
        context_(test::context_in(std::make_shared<test::FakeHouse>(config(), device_))),
        loop_(context_, sizes(), home()) {
    device_->keep_log(false);
    if (pick(0, 3) != 0) device_->shuffle(seed | 1);
  }

  void run(int calls) {
    finish_step();
    for (int i = 0; i < calls && !::testing::Test::HasFailure(); ++i) {
      switch (pick(0, 5)) {
        case 0: leave_and_finish(); break;
        case 1: read_all(); break;
        case 2: read_some(); break;
        case 3: write_some(); break;
        default: finish_step();
      }
    }
    calm();
    loop_.expect_equal("at the end");
  }

 private:
  std::int64_t pick(std::int64_t from, std::int64_t to) {
    return std::uniform_int_distribution<std::int64_t>(from, to)(random_);
  }
  Config config() {
    Config config = test::small_config(OffloadDevice::nvme, scratch_.path());
    OffloadOptimizerConfig& optimizer = config.offload_optimizer;
    optimizer.buffer_count = pick(3, 5);
    optimizer.buffer_size = (32 << pick(0, 1)) * 1024 + 8192;
    optimizer.pipeline_read = pick(0, 2) != 0;
    optimizer.pipeline_write = pick(0, 2) != 0;
    optimizer.fast_init = pick(0, 1) == 0;
    optimizer.ratio = std::array{1.0, 1.0, 0.6}[static_cast<std::size_t>(pick(0, 2))];
    if (attached_) {
      config.offload_param.device = OffloadDevice::nvme;
      config.offload_param.nvme_path = {scratch_.path()};
      config.offload_param.buffer_count = 8;
      config.offload_param.buffer_size = 128 * 1024;
      config.offload_param.max_in_cpu = pick(0, 1) * pick(1, 40'000);
    }
    config.io.checksums = pick(0, 1) == 0;
    config.io.block_size = 4096 << pick(0, 4);
    config.io.queue_depth = pick(1, 16);
    config.io.timeout = 60;
    return config;
  }
  std::vector<std::int64_t> sizes() {
    std::vector<std::int64_t> sizes;
    for (std::int64_t i = pick(1, 6); i > 0; --i)
      sizes.push_back(pick(0, 1) == 0 ? pick(1, 2000) : pick(1, 30'000));
    return sizes;
  }
  std::unique_ptr<test::ParameterHome> home() {
    if (attached_) return std::make_unique<test::SwappedParameters>(context_);
    return std::make_unique<test::EngineMemory>();
  }

  // The device's manners from now on. Of errors that last longer than a retry, a few in a thousand.
  void storm() {
    const auto random = std::make_shared<std::mt19937>(random_());
    const auto worst = pick(0, 3) == 0 ? 0 : pick(1, 30);
    device_->plan([random, worst](const FakeOp& op) -> std::int64_t {
      const auto of = [&](std::int64_t most) {
        return std::uniform_int_distribution<std::int64_t>(0, most)(*random);
      };
      const std::int64_t manner = of(999);
      if (manner < worst) return manner % 2 == 0 ? -EIO : -ENOSPC;
      if (manner < 100) return -EINTR;
      if (manner < 150) return -EAGAIN;
      if (manner < 400) return of(op.bytes);
      return op.bytes;
    });
  }
  void calm() { device_->plan({}); }

  // Calls until it succeeds; what fails fails typed.
  template <typename Call>
  void insist(const char* what, Call call) {
    for (int attempt = 0;; ++attempt) {
      if (attempt == 100) calm();
      ASSERT_LT(attempt, 110) << what << " fails on a disk that is well";
      std::string text;
      const auto code = error_of(call, &text);
      if (!code) return;
      ASSERT_TRUE(*code == Errc::io_error || *code == Errc::no_space || *code == Errc::corrupt)
          << what << ": " << text;
      ASSERT_NE(text.find("\"p"), std::string::npos) << what << ": " << text;
    }
  }
  void finish_step() {
    storm();
    {
      std::optional<Trickle> slow;
      if (pick(0, 3) == 0) slow.emplace(*device_);
      insist("a step", [&] { loop_.step(step_); });
    }
    loop_.twin.step(step_++);
    calm();
    if (pick(0, 2) == 0) loop_.expect_equal("after step " + std::to_string(step_ - 1));
  }
  // What is read ahead ends after its pass was left.
  void leave_and_finish() {
    storm();
    {
      const Trickle slow(*device_);
      for (std::int64_t times = pick(1, 3); times > 0; --times)
        static_cast<void>(
            error_of([&] { loop_.leave_early(step_, static_cast<int>(pick(0, 3))); }));
    }
    finish_step();
  }
  void read_all() {
    storm();
    insist("a pass that reads", [&] {
      Run run = loop_.swapper.begin({.read = {"v"}});
      while (auto tile = run.next()) {
        for (const Slice& slice : tile->slices()) {
          const auto v = slice.of<const float>("v");
          const auto& twin = loop_.twin.params[slice.tag - 1].v;
          ASSERT_TRUE(std::equal(v.begin(), v.end(), twin.begin() + slice.offset));
        }
        tile->commit();
      }
    });
    calm();
  }
  std::vector<float>& any_state(std::size_t& p, std::string& state) {
    p = static_cast<std::size_t>(pick(0, static_cast<std::int64_t>(loop_.ids.size()) - 1));
    state = pick(0, 1) == 0 ? "m" : "v";
    return state == "m" ? loop_.twin.params[p].m : loop_.twin.params[p].v;
  }
  void read_some() {
    std::size_t p = 0;
    std::string state;
    const std::vector<float>& twin = any_state(p, state);
    const std::int64_t from = pick(0, static_cast<std::int64_t>(twin.size()) - 1);
    std::vector<float> got(
        static_cast<std::size_t>(pick(1, static_cast<std::int64_t>(twin.size()) - from)));
    storm();
    insist("read_state",
           [&] { loop_.swapper.read_state<float>(loop_.ids[p], state, from, std::span(got)); });
    calm();
    ASSERT_TRUE(std::equal(got.begin(), got.end(), twin.begin() + from));
  }
  void write_some() {
    std::size_t p = 0;
    std::string state;
    std::vector<float>& twin = any_state(p, state);
    const std::int64_t from = pick(0, static_cast<std::int64_t>(twin.size()) - 1);
    std::vector<float> fresh(
        static_cast<std::size_t>(pick(1, static_cast<std::int64_t>(twin.size()) - from)));
    for (float& value : fresh) value = static_cast<float>(pick(0, 1000));
    storm();
    insist("write_state", [&] {
      loop_.swapper.write_state<float>(loop_.ids[p], state, from, std::span<const float>(fresh));
    });
    calm();
    std::copy(fresh.begin(), fresh.end(), twin.begin() + from);
  }

  CapturedLog log_;
  std::mt19937 random_;
  const bool attached_;
  test::Scratch scratch_;
  std::shared_ptr<FakeDevice> device_ = std::make_shared<FakeDevice>(2 * file_bytes, file_bytes);
  Context context_;
  EngineLoop loop_;
  std::int64_t step_ = 1;
};

TEST(FaultModelTest, EveryStepEndsAsInPlainMemory) {
  const bool soak = std::getenv("SPILLWAY_SOAK") != nullptr;
  const char* const given = std::getenv("SPILLWAY_SEED");
  std::random_device device;
  for (int i = 0; i < (soak ? 1000 : 25) && !HasFailure(); ++i) {
    const unsigned seed =
        given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : device();
    SCOPED_TRACE("SPILLWAY_SEED=" + std::to_string(seed));
    FaultModel model(seed);
    model.run(soak ? 100 : 25);
    if (given != nullptr) break;
  }
}

}  // namespace
}  // namespace spillway
