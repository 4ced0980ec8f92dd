// A child that is forked in the middle of a step (a data loader) can do no harm.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "support/captured_log.h"
#include "support/child_process.h"
#include "swap/contents.h"

namespace spillway {
namespace {

using test::error_of;
using test::Home;
using test::Trainer;

class ForkTest : public ::testing::TestWithParam<Home> {};

TEST_P(ForkTest, TheChildIsRefusedAndTheStepEndsRight) {
  const CapturedLog log;
  test::Scratch scratch;
  {
    std::optional<Context> context(test::config_for(GetParam(), scratch.path()));
    std::optional<Trainer> trainer(std::in_place, *context,
                                   std::vector<std::int64_t>{20000, 7, 5000});
    trainer->load();
    std::optional<spillway::Run> run(trainer->swapper.begin_step(1));
    std::optional<Tile> tile = run->next();
    test::update(tile->slices()[0], 1);

    const ChildEnd child = in_child([&] {
      std::string wrong;
      const auto refused = [&](const char* what, auto call) {
        if (error_of(call) != Errc::forked) wrong += std::string(what) + " ";
      };
      std::vector<float> values(1);
      OptimizerSwapper& swapper = trainer->swapper;
      refused("next", [&] { run->next(); });
      refused("upcoming", [&] { run->upcoming(); });
      refused("commit", [&] { tile->commit(); });
      refused("of", [&] { std::ignore = tile->slices()[0].of<const float>("w"); });
      refused("begin", [&] { swapper.begin_step(2); });
      refused("seal", [&] { swapper.seal(); });
      refused("add", [&] { swapper.add("x", 1); });
      refused("add_unit", [&] { swapper.add_unit("x"); });
      refused("remove", [&] { swapper.remove(trainer->ids[0]); });
      refused("reset", [&] { swapper.reset("m"); });
      refused("read_state",
              [&] { swapper.read_state<float>(trainer->ids[0], "w", 0, std::span(values)); });
      refused("write_state", [&] {
        swapper.write_state<float>(trainer->ids[0], "w", 0, std::span<const float>(values));
      });
      refused("stats", [&] { swapper.stats(); });
      refused("name", [&] { swapper.name(trainer->ids[0]); });
      refused("context stats", [&] { context->stats(); });
      refused("describe_plan", [&] { context->describe_plan(); });
      refused("a new swapper", [&] { OptimizerSwapper(*context, {.states = {{"x"}}}); });
      tile.reset();
      run.reset();
      trainer.reset();
      context.reset();
      return wrong;
    });
    EXPECT_TRUE(child.clean()) << child.status;
    EXPECT_EQ(child.said, "") << "not refused in the child";

    const pid_t leaves = fork_beside_threads();  // with all destructors of its statics
    if (leaves == 0) std::exit(0);
    int status = -1;
    ::waitpid(leaves, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    if (GetParam().device == OffloadDevice::nvme) {
      EXPECT_FALSE(scratch.empty()) << "the parent's directory is gone";
    }
    for (std::size_t i = 1; i < tile->slices().size(); ++i) test::update(tile->slices()[i], 1);
    tile->commit();
    while ((tile = run->next())) {
      for (const Slice& slice : tile->slices()) test::update(slice, 1);
      tile->commit();
    }
    run.reset();
    trainer->twin.step(1);
    trainer->expect_equal("after the step");
    trainer->step(2);
    trainer->twin.step(2);
    trainer->expect_equal("after the next one");
  }
  EXPECT_TRUE(scratch.empty()) << "something was left in the path";
}

INSTANTIATE_TEST_SUITE_P(All, ForkTest, ::testing::ValuesIn(test::homes()), test::home_name);

}  // namespace
}  // namespace spillway
