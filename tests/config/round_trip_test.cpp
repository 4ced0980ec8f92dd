// What is written reads back as it was, for any config that is valid.
#include <gmock/gmock.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "config/support.h"

namespace spillway {
namespace {

using testing::HasSubstr;

rc::Gen<std::int64_t> within(std::int64_t min, std::int64_t max) {
  return rc::gen::inRange<std::int64_t>(min, max + 1);
}

// Distinct paths, with the characters that JSON escapes and that messages must survive.
std::vector<std::filesystem::path> some_paths(std::int64_t count) {
  static const std::vector<std::string> odd{"",         " with space", "\"quoted\"", "back\\slash",
                                            "\xc3\xbc", "new\nline",   "auto",       "a.b"};
  std::vector<std::filesystem::path> paths;
  for (std::int64_t i = 0; i < count; ++i)
    paths.emplace_back((*rc::gen::arbitrary<bool>() ? "/disk" : "disk") + std::to_string(i) + "/" +
                       *rc::gen::elementOf(odd) + "x");
  return paths;
}

template <typename Offload>
void fill(Offload& offload, std::int64_t paths) {
  offload.device =
      paths > 0 ? *rc::gen::element(OffloadDevice::none, OffloadDevice::cpu, OffloadDevice::nvme)
                : *rc::gen::element(OffloadDevice::none, OffloadDevice::cpu);
  offload.nvme_path = some_paths(paths);
  offload.pin_memory = *rc::gen::arbitrary<bool>();
  offload.buffer_count = *within(3, 1'000'000);
}

double real_between(double min, double max) {
  const auto steps = *within(0, 1'000'000'007);
  return min + (max - min) * (static_cast<double>(steps) / 1'000'000'007.0);
}

Config any_config(std::int64_t element_bytes) {
  Config c;
  const std::int64_t paths = *within(0, 3);
  fill(c.offload_param, paths);
  fill(c.offload_optimizer, paths);
  const std::int64_t most = 4'000'000'000;  // x a million buffers stays below 2^63
  c.offload_param.buffer_size = *within(4096, most) * element_bytes;
  c.offload_param.max_in_cpu = *within(0, std::int64_t{1} << 60);
  if (*rc::gen::arbitrary<bool>())
    c.offload_optimizer.buffer_size = *within(4096, most) * element_bytes;
  c.offload_optimizer.pipeline_read = *rc::gen::arbitrary<bool>();
  c.offload_optimizer.pipeline_write = *rc::gen::arbitrary<bool>();
  c.offload_optimizer.fast_init = *rc::gen::arbitrary<bool>();
  c.offload_optimizer.ratio = real_between(0, 1);

  IoConfig& io = c.io;
  io.engine =
      *rc::gen::element(EngineChoice::automatic, EngineChoice::io_uring, EngineChoice::threads);
  io.block_size = *within(1, 1 << 18) * 4096;
  io.queue_depth = *within(1, 32768);
  io.read_budget = io.block_size + *within(0, std::int64_t{1} << 40);
  io.write_budget = io.block_size + *within(0, std::int64_t{1} << 40);
  io.threads = *within(0, 1024);
  io.stripe_unit = *within(1, 1 << 18) * 4096;
  if (paths > 0 && *rc::gen::arbitrary<bool>())
    for (std::int64_t i = 0; i < paths; ++i) io.path_weights.push_back(*within(1, 1'000'000));
  io.direct = *rc::gen::element(Switch::automatic, Switch::on, Switch::off);
  io.checksums = *rc::gen::arbitrary<bool>();
  io.huge_pages = *rc::gen::element(Switch::automatic, Switch::on, Switch::off);
  io.numa_node = static_cast<int>(*within(-1, 1023));
  io.require_pinned = *rc::gen::arbitrary<bool>();
  io.dump_memory = *rc::gen::arbitrary<bool>();
  io.timeout = real_between(0.001, 1e9);
  io.shutdown_timeout = real_between(0, 100);
  return c;
}

RC_GTEST_PROP(RoundTripTest, NativeJsonReadsBackAsItWas, ()) {
  const Config c = any_config(1);
  validate(c);
  std::vector<std::string> notes;
  RC_ASSERT(parse_config(to_json(c), {.notes = &notes}) == c);
  RC_ASSERT(notes.empty());
}

RC_GTEST_PROP(RoundTripTest, DeepSpeedJsonReadsBackAsItWas, ()) {
  const std::int64_t width = *rc::gen::element<std::int64_t>(1, 2, 4);
  const Config c = any_config(width);
  validate(c);
  std::vector<std::string> notes;
  RC_ASSERT(parse_config(to_ds_json(c, width), {.ds_element_bytes = width, .notes = &notes}) == c);
  RC_ASSERT(notes.empty());
}

// A native text that comes from JSON of ours is the same text again.
RC_GTEST_PROP(RoundTripTest, WritingIsStable, ()) {
  const std::string text = to_json(any_config(1));
  RC_ASSERT(to_json(parse_config(text)) == text);
}

TEST(RoundTripTest, DefaultsAreWrittenOut) {
  EXPECT_EQ(to_json(Config{}), R"({
  "offload_param": {
    "device": "none",
    "nvme_path": null,
    "buffer_count": 5,
    "buffer_size": 104857600,
    "max_in_cpu": 1073741824,
    "pin_memory": false
  },
  "offload_optimizer": {
    "device": "none",
    "nvme_path": null,
    "buffer_count": 4,
    "buffer_size": null,
    "pin_memory": false,
    "pipeline_read": false,
    "pipeline_write": false,
    "fast_init": false,
    "ratio": 1.0
  },
  "io": {
    "engine": "auto",
    "block_size": 1048576,
    "queue_depth": 64,
    "read_budget": 67108864,
    "write_budget": 16777216,
    "threads": 0,
    "stripe_unit": 1048576,
    "path_weights": [],
    "direct": "auto",
    "checksums": true,
    "huge_pages": "auto",
    "numa_node": -1,
    "require_pinned": false,
    "dump_memory": true,
    "timeout": 30.0,
    "shutdown_timeout": 10.0
  }
}
)");
}

// DeepSpeed refuses keys that it does not know inside its sections, so ours stay out of them.
TEST(RoundTripTest, ADeepSpeedFragmentHoldsOnlyItsKeysByDefault) {
  EXPECT_EQ(to_ds_json(Config{}), R"({
  "zero_optimization": {
    "offload_param": {
      "device": "none",
      "nvme_path": null,
      "buffer_count": 5,
      "buffer_size": 52428800,
      "max_in_cpu": 1073741824,
      "pin_memory": false
    },
    "offload_optimizer": {
      "device": "none",
      "nvme_path": null,
      "buffer_count": 4,
      "pin_memory": false,
      "pipeline_read": false,
      "pipeline_write": false,
      "fast_init": false,
      "ratio": 1.0
    }
  },
  "aio": {
    "block_size": 1048576,
    "queue_depth": 64
  }
}
)");
}

TEST(RoundTripTest, SizesThatAreNoWholeElementsCannotBeWrittenForDeepSpeed) {
  Config c;
  c.offload_param.buffer_size = 4097;
  const auto failure = failure_of([&] { to_ds_json(c, 2); });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Errc::invalid_argument);
  EXPECT_THAT(failure->text(), HasSubstr("offload_param.buffer_size, 4097 bytes"));
  EXPECT_NO_THROW(to_ds_json(c, 1));
  EXPECT_TRUE(failure_of([&] { to_ds_json(c, 0); }));

  c = {};
  c.offload_optimizer.buffer_size = 4098;
  EXPECT_TRUE(failure_of([&] { to_ds_json(c, 4); }));
}

TEST(RoundTripTest, WhatJsonCannotHoldIsRefused) {
  Config c;
  c.offload_param.nvme_path = {"/bad\xff"};
  auto failure = failure_of([&] { to_json(c); });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Errc::invalid_argument);
  EXPECT_THAT(failure->text(), HasSubstr("not UTF-8"));

  c = {};
  c.io.timeout = std::nan("");
  failure = failure_of([&] { to_json(c); });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Errc::invalid_argument);
}

TEST(RoundTripTest, ADirectoryCalledAutoStaysOne) {
  Config c;
  c.offload_param.nvme_path = {"auto"};
  EXPECT_EQ(parse_config(to_json(c)), c);
}

// Structs filled in by hand come under the same rules as files.
TEST(ValidateTest, JudgesStructsAsItJudgesFiles) {
  Config c;
  c.offload_optimizer.device = OffloadDevice::nvme;
  c.offload_optimizer.ratio = std::nan("");
  c.io.block_size = 1000;
  c.io.numa_node = -7;
  c.offload_param.buffer_size = -1;
  const auto failure = failure_of([&] { validate(c); });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, Errc::invalid_config);
  EXPECT_THAT(failure->lines,
              testing::UnorderedElementsAre(
                  "config: 5 problems", HasSubstr("  offload_optimizer.nvme_path: "),
                  "  offload_optimizer.ratio: must be between 0 and 1, got nan",
                  HasSubstr("  io.block_size: must be at least 4096 bytes, got 1000"),
                  HasSubstr("  io.numa_node: must be at least -1, got -7"),
                  HasSubstr("  offload_param.buffer_size: must be at least 0 bytes, got -1")));
}

TEST(ValidateTest, DoesNotLookAtTheMachine) {
  Config c;
  c.offload_param.device = OffloadDevice::nvme;
  c.offload_param.nvme_path = {"/does/not/exist/at/all"};
  EXPECT_NO_THROW(validate(c));
}

}  // namespace
}  // namespace spillway
