// Weeks of training in little: thousands of steps on a disk that fails at random. Every error is
// answered by making the same call again; nothing grows, and every final state is bit-exact.
//
// The suite runs it short; SPILLWAY_SOAK=1 (scripts/soak.sh) runs 10,000 steps of a small model and
// 1,000 of a larger one. The seed is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "fault/job.h"
#include "fault/process_state.h"
#include "support/captured_log.h"
#include "support/heap/heap.h"
#include "swap/fake_house.h"

namespace spillway {
namespace {

using io::FakeDevice;
using io::FakeOp;
using test::Job;

bool in_full() { return std::getenv("SPILLWAY_SOAK") != nullptr; }

constexpr std::int64_t MiB = 1 << 20;

/// Most operations go well; of the others, some are merely slow or short, and some fail.
class Weather {
 public:
  Weather(unsigned seed, double badness) : random_(seed), badness_(badness) {}
  std::int64_t operator()(const FakeOp& op) {
    const double dice = std::uniform_real_distribution<>(0, 1)(random_);
    if (dice > badness_) return op.bytes;
    switch (random_() % 8) {
      case 0: return -EIO;
      case 1: return op.op == io::Op::write ? -ENOSPC : -EIO;
      case 2: return -EINTR;
      case 3: return -EAGAIN;
      case 4: return 0;
      case 5: return op.bytes / 2;
      default: return static_cast<std::int64_t>(random_() % static_cast<unsigned>(op.bytes + 1));
    }
  }

 private:
  std::mt19937 random_;
  double badness_;
};

/// What must not grow.
struct Figures {
  std::size_t files = test::descriptors().size();
  std::int64_t blocks = test::heap().blocks, heap = test::heap().bytes;
  std::int64_t resident = test::resident_bytes();
  std::int64_t store = 0, volume = 0;
  std::int64_t pool = 0, unwritten = 0, cached = 0;
};

Figures figures_of(test::FakeHouse& house, Job& job) {
  Figures now;
  for (const auto& path : house.optimizer_store().report()) now.store += path.allocated_bytes;
  for (const auto& path : house.parameter_volume().report()) now.volume += path.allocated_bytes;
  const ParameterStats stats = job.weights.stats();
  now.pool = stats.pool_bytes;
  now.unwritten = stats.unwritten_bytes;
  now.cached = stats.cached_elements;
  return now;
}

void soak(std::int64_t steps, const std::vector<std::int64_t>& sizes, std::int64_t tile_bytes,
          std::int64_t device_bytes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::printf("seed %u\n", seed);
  const test::Scratch scratch;
  set_log_level(LogLevel::off);  // it complains all day
  {
    const auto device = std::make_shared<FakeDevice>(2 * device_bytes);
    device->separate_files(device_bytes);
    device->keep_log(false);
    device->shuffle(seed | 1u);
    Config config = test::job_config(scratch.path());
    config.offload_optimizer.buffer_size = tile_bytes;
    config.io.block_size = 16 * 1024;  // several operations for each section
    const auto house = std::make_shared<test::FakeHouse>(config, device);
    Context context = test::context_in(house);
    Job job(context, sizes);
    job.load();

    // One call in fair weather or foul, made again until it succeeds. The sky clears at last.
    Weather weather(seed, 0.04);  // so bad that chance does not come near the bar below
    std::int64_t errors = 0;
    const auto persist = [&](const auto& call) {
      for (int attempt = 0;; ++attempt) {
        if (attempt < 6) {
          device->plan([&weather](const FakeOp& op) { return weather(op); });
        } else {
          device->plan({});
        }
        try {
          call();
          device->plan({});
          return;
        } catch (const Error& error) {
          ++errors;
          // A read that ends early is taken for a file that was cut.
          const bool expected = error.code() == Errc::io_error || error.code() == Errc::no_space ||
                                error.code() == Errc::corrupt;
          ASSERT_TRUE(expected && attempt < 6) << error.what();
        }
      }
    };
    Figures before;
    for (std::int64_t n = 1; n <= steps; ++n) {
      persist([&] { job.step(n); });
      if (n % 3 == 0) {
        std::string wrong;
        persist([&] { wrong = job.forward(); });
        ASSERT_EQ(wrong, "") << "in step " << n;
      }
      if (n % 50 == 0) {
        device->plan({});
        ASSERT_EQ(job.difference(), "") << "after step " << n;
      }
      if (n == std::min<std::int64_t>(100, steps / 3)) {
        job.weights.flush();
        before = figures_of(*house, job);
      }
      if (testing::Test::HasFailure()) return;
    }
    EXPECT_GT(errors, steps / 20) << "the weather was too good";
    EXPECT_EQ(job.difference(), "") << "at the end";
    job.weights.flush();
    const Figures after = figures_of(*house, job);
    EXPECT_EQ(after.files, before.files);
    EXPECT_EQ(after.store, before.store);
    EXPECT_EQ(after.volume, before.volume);
    EXPECT_EQ(after.unwritten, 0);
    // What is read ahead comes and goes; all of the pool is there for who asks for all of it.
    const std::int64_t budget =
        config.offload_param.buffer_count * config.offload_param.buffer_size;
    EXPECT_LE(after.pool, budget);
    const ParamId all_of_it = job.weights.add("whole pool", budget / 4, DType::f32);
    EXPECT_EQ(job.weights.fetch(all_of_it, Access::overwrite).tensors()[0].bytes(), budget);
    EXPECT_LE(after.cached, config.offload_param.max_in_cpu);
    // A vector somewhere may have found its size late.
    EXPECT_LE(after.blocks, before.blocks + 64);
    EXPECT_LE(after.heap, before.heap + 64 * 1024);
    if (!test::sanitized) {
      EXPECT_LE(after.resident, before.resident + 2 * MiB);
    }
    const OptimizerStats stats = job.optimizer.stats();
    std::printf("%lld steps, %lld calls failed and were made again, %lld writes went elsewhere\n",
                static_cast<long long>(steps), static_cast<long long>(errors),
                static_cast<long long>(stats.write_retries));
  }
  set_log_level(LogLevel::warning);
  EXPECT_TRUE(scratch.empty());
}

TEST(FaultyDiskTest, ASmallModelForManySteps) {
  soak(in_full() ? 10'000 : 200, Job::small_model(), 48 * 1024, 4 * MiB);
}

TEST(FaultyDiskTest, ALargerModel) {
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < 24; ++i) sizes.push_back(500 + 1777 * i);
  soak(in_full() ? 1'000 : 12, sizes, 192 * 1024, 24 * MiB);
}

}  // namespace
}  // namespace spillway
