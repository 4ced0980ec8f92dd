// Memory runs out while a fault is being told: the words are lost, the error and the bytes are not.

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <thread>

#include "store/store_fixture.h"
#include "support/captured_log.h"
#include "swap/contents.h"
#include "swap/counted_new.h"
#include "swap/fake_house.h"
#include "swap/parameter_fixture.h"

namespace spillway {
namespace {

using io::FakeDevice;
using io::FakeOp;
using io::Op;
using test::error_of;
using test::refuse_memory;
using test::Trainer;

// From the first operation of `kind` on the device fails, and its thread has no memory any more.
void fail_without_memory(FakeDevice& device, Op kind, int error) {
  device.plan([=](const FakeOp& op) -> std::int64_t {
    if (op.op != kind) return op.bytes;
    refuse_memory(true);
    return -error;
  });
}

void mend(FakeDevice& device) {
  device.plan([](const FakeOp& op) {
    refuse_memory(false);
    return op.bytes;
  });
}

class NoMemoryTest : public ::testing::TestWithParam<Op> {
 protected:
  NoMemoryTest() { device->keep_log(false); }  // which takes memory on that thread
  void expect_typed(const std::function<void()>& call) {
    fail_without_memory(*device, GetParam(), EIO);
    std::string text;
    const auto code = error_of(call, &text);
    EXPECT_TRUE(code == Errc::io_error || code == Errc::out_of_memory) << text;
    EXPECT_NE(text.find(code == Errc::io_error ? "offset" : "out of memory"), std::string::npos)
        << text;
    mend(*device);
  }

  CapturedLog log;
  test::Scratch scratch;
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(8 * 1024 * 1024);
};

TEST_P(NoMemoryTest, AStepFailsTypedAndIsFinishedLater) {
  Context context = test::context_in(
      std::make_shared<test::FakeHouse>(test::config_for({}, scratch.path()), device));
  Trainer trainer(context, {12288, 1, 600, 63, 2000});
  trainer.load();
  expect_typed([&] { trainer.step(1); });
  trainer.step(1);
  trainer.twin.step(1);
  trainer.expect_equal("with memory again");
}

TEST_P(NoMemoryTest, AParameterIsKept) {
  Config config = test::parameter_config(OffloadDevice::nvme, scratch.path());
  config.offload_optimizer.nvme_path = {scratch.path()};
  Context context = test::context_in(std::make_shared<test::FakeHouse>(config, device));
  ParameterSwapper swapper(context);
  const ParamId id = swapper.add("p", 9000, DType::f32);
  test::put(swapper, id, 1, 1);
  swapper.flush();
  // Others take its place in the pool, so that it must be read again.
  const ParamId other = swapper.add("other", 250'000, DType::f32);
  test::put(swapper, other, 2, 1);
  swapper.flush();
  expect_typed([&] {
    if (GetParam() == Op::read) {
      static_cast<void>(swapper.fetch(id));
    } else {
      test::put(swapper, id, 1, 2);
      swapper.flush();
    }
  });
  swapper.flush();
  EXPECT_EQ(test::copy_of(swapper.fetch(id)),
            test::values(1, 0, 9000, GetParam() == Op::read ? 1 : 2));
}

// A transfer of three reads of which one is under way when the engine shuts down: the others were
// taken back and cannot be submitted again, and there is no memory for the reason.
TEST(NoMemoryTransferTest, WhatCannotGoOnEndsTyped) {
  const auto device = std::make_shared<FakeDevice>(1024 * 1024);
  device->keep_log(false);
  io::EngineOptions narrow;
  narrow.queue_depth = 1;
  io::Engine engine(std::make_unique<io::FakeBackend>(device), narrow);
  const TempDir folder;
  store::Store store(engine, store::options_for({folder.path()}));
  const store::SectionId first = store.reserve(store::Sizes{4096, 4096, 4096}, 3, 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(write(store, store::at(first, i), 1));
  device->hold();
  const std::int64_t started = device->started();
  PageMemory buffer(4 * 4096);
  store::Mover mover(store, 3), queued(store, 1);
  for (int i = 0; i < 3; ++i)
    mover.transfer().add_read(store::at(first, i), buffer.data() + i * 4096);
  mover.submit();
  ASSERT_TRUE(device->wait_started(started + 1));
  queued.transfer().add_read(first, buffer.data() + 3 * 4096);
  queued.submit();
  std::thread shutdown([&] { EXPECT_TRUE(engine.shutdown(20).clean); });
  ASSERT_TRUE(queued.wait());
  device->plan([](const FakeOp& op) {
    refuse_memory(true);
    return op.bytes;
  });
  device->release();
  ASSERT_TRUE(mover.wait());
  shutdown.join();
  EXPECT_FALSE(mover.transfer().ok());
  EXPECT_EQ(mover.transfer().error().code(), Errc::out_of_memory);
}

INSTANTIATE_TEST_SUITE_P(Operations, NoMemoryTest, ::testing::Values(Op::read, Op::write),
                         [](const auto& op) { return op.param == Op::read ? "reads" : "writes"; });

}  // namespace
}  // namespace spillway
