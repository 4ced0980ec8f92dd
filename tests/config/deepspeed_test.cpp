// ds_config.json files as people have them.
#include <gmock/gmock.h>

#include "config/support.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(DeepSpeedTest, AWholeFileLoadsAndOnlyOurSectionsAreLookedAt) {
  std::vector<std::string> notes;
  const Config c = parse_config(R"({
    "train_batch_size": "auto",
    "fp16": {"enabled": true, "loss_scale": 0, "fp16": {"deep": [[[{}]]]}},
    "optimizer": {"type": "AdamW", "params": {"lr": 3e-5, "betas": [0.8, 0.999], "ratio": 7}},
    "zero_optimization": {
      "stage": 3,
      "offload_param": {
        "device": "nvme", "nvme_path": "/local_nvme", "pin_memory": true,
        "buffer_count": 5, "buffer_size": 1e8, "max_in_cpu": 1e9
      },
      "offload_optimizer": {
        "device": "nvme", "nvme_path": "/local_nvme", "pin_memory": true,
        "buffer_count": 4, "fast_init": false, "pipeline_read": true
      },
      "overlap_comm": true,
      "sub_group_size": 1e9,
      "reduce_bucket_size": "auto",
      "stage3_max_live_parameters": 1e9
    },
    "aio": {
      "block_size": 262144, "queue_depth": 32, "thread_count": 2,
      "single_submit": false, "overlap_events": true
    },
    "steps_per_print": 2000,
    "wall_clock_breakdown": false
  })",
                                {.notes = &notes}, "ds_config.json");

  Config expected;
  expected.offload_param = {.device = OffloadDevice::nvme,
                            .nvme_path = {"/local_nvme"},
                            .buffer_count = 5,
                            .buffer_size = 200000000,  // 1e8 elements of 2 bytes
                            .max_in_cpu = 1000000000,  // elements here and there
                            .pin_memory = true};
  expected.offload_optimizer.device = OffloadDevice::nvme;
  expected.offload_optimizer.nvme_path = {"/local_nvme"};
  expected.offload_optimizer.pin_memory = true;
  expected.offload_optimizer.pipeline_read = true;
  expected.io.block_size = 262144;
  expected.io.queue_depth = 32;
  expected.io.threads = 2;
  EXPECT_EQ(c, expected);
  EXPECT_THAT(notes, ElementsAre("ds_config.json: without meaning here and ignored: "
                                 "aio.single_submit and aio.overlap_events"));
}

TEST(DeepSpeedTest, BufferSizeCountsElementsOfTheGivenWidth) {
  const auto size = [](std::string_view json, std::int64_t width) {
    return parse_config(json, {.ds_element_bytes = width}).offload_param.buffer_size;
  };
  constexpr auto plain = R"({"zero_optimization": {"offload_param": {"buffer_size": 1000000}}})";
  EXPECT_EQ(size(plain, 2), 2000000);
  EXPECT_EQ(size(plain, 4), 4000000);
  EXPECT_EQ(size(plain, 1), 1000000);
  EXPECT_EQ(size(R"({"zero_optimization": {"offload_param": {"buffer_size": "1M"}}})", 4), 4000000);
  EXPECT_EQ(size(R"({"offload_param": {"buffer_size": 1000000}})", 4), 1000000) << "native: bytes";
  EXPECT_EQ(size(R"({"zero_optimization": {}})", 4), 104857600) << "our default is bytes";
  EXPECT_EQ(parse_config(R"({"zero_optimization": {"offload_optimizer": {"buffer_size": 4096}}})")
                .offload_optimizer.buffer_size,
            8192);
}

TEST(DeepSpeedTest, ASizeThatNamesBytesIsTakenAtItsWord) {
  std::vector<std::string> notes;
  const Config c = parse_config(
      R"({"zero_optimization": {"offload_param": {"buffer_size": "96MiB"}}})", {.notes = &notes});
  EXPECT_EQ(c.offload_param.buffer_size, 96 << 20);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("zero_optimization.offload_param.buffer_size: "
                                           "\"96MiB\" is taken as bytes")));
}

TEST(DeepSpeedTest, SectionsMayBeAbsentNullOrEmpty) {
  for (const char* json :
       {R"({"zero_optimization": {}})", R"({"zero_optimization": null, "aio": null})",
        R"({"zero_optimization": {"offload_param": null, "offload_optimizer": {}}, "aio": {}})",
        R"({"zero_optimization": {"stage": 2}, "bf16": {"enabled": true}, "amp": {}})"}) {
    std::vector<std::string> notes;
    EXPECT_EQ(parse_config(json, {.notes = &notes}), Config{}) << json;
    EXPECT_THAT(notes, IsEmpty()) << json;
  }
}

TEST(DeepSpeedTest, CpuWithAPathAndNullPathsLoad) {
  const Config c = parse_config(R"({"zero_optimization": {
    "offload_param": {"device": "cpu", "nvme_path": "/local_nvme"},
    "offload_optimizer": {"device": "cpu", "nvme_path": null, "pipeline": false}}})");
  EXPECT_EQ(c.offload_param.device, OffloadDevice::cpu);
  EXPECT_EQ(c.offload_optimizer.device, OffloadDevice::cpu);
}

TEST(DeepSpeedTest, TheNewerNameOfTheWorkersWins) {
  std::vector<std::string> notes;
  const auto threads = [&](std::string_view json) {
    notes.clear();
    return parse_config(json, {.notes = &notes}).io.threads;
  };
  EXPECT_EQ(threads(R"({"zero_optimization": {}, "aio": {"thread_count": 3}})"), 3);
  EXPECT_EQ(threads(R"({"zero_optimization": {}, "aio": {"intra_op_parallelism": 3}})"), 3);
  EXPECT_EQ(threads(R"({"zero_optimization": {},
                        "aio": {"thread_count": 4, "intra_op_parallelism": 4}})"),
            4);
  EXPECT_THAT(notes, IsEmpty());
  EXPECT_EQ(threads(R"({"zero_optimization": {},
                        "aio": {"thread_count": 1, "intra_op_parallelism": 8}})"),
            8);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("aio.thread_count: 1 is ignored")));
}

TEST(DeepSpeedTest, OldFormsAreNamed) {
  std::vector<std::string> notes;
  EXPECT_EQ(parse_config(R"({"zero_optimization": true})", {.notes = &notes}), Config{});
  EXPECT_EQ(parse_config(R"({"zero_optimization": {"cpu_offload": true}})", {.notes = &notes}),
            Config{});
  EXPECT_THAT(notes, ElementsAre(HasSubstr("zero_optimization: true configures no offloading"),
                                 HasSubstr("zero_optimization.cpu_offload: is deprecated")));
}

TEST(DeepSpeedTest, BlocksAboveTheBudgetsRaiseThemUnlessTheyAreGiven) {
  std::vector<std::string> notes;
  const Config c = parse_config(
      R"({"zero_optimization": {}, "aio": {"block_size": "96MiB"}, "io": {"write_budget": "128MiB"}})",
      {.notes = &notes});
  EXPECT_EQ(c.io.read_budget, 96 << 20);
  EXPECT_EQ(c.io.write_budget, 128 << 20);
  EXPECT_THAT(notes, ElementsAre(HasSubstr("aio.block_size: raises io.read_budget from 67108864")));
}

TEST(DeepSpeedTest, OurOwnIoSectionMayStandBesideAio) {
  const Config c = parse_config(R"({"zero_optimization": {"offload_optimizer": {
    "device": "nvme", "nvme_path": ["/a", "/b"]}},
    "aio": {"queue_depth": 8}, "io": {"engine": "threads", "path_weights": [2, 1]}})");
  EXPECT_EQ(c.io.engine, EngineChoice::threads);
  EXPECT_EQ(c.io.queue_depth, 8);
  EXPECT_EQ(c.io.path_weights, (std::vector<std::int64_t>{2, 1}));
}

TEST(DeepSpeedTest, DuplicatesInForeignPartsAreOnlyNoted) {
  std::vector<std::string> notes;
  parse_config(R"({"zero_optimization": {"stage": 2, "stage": 3}, "fp16": {}, "fp16": {}})",
               {.notes = &notes});
  EXPECT_THAT(notes, ElementsAre("config: fp16: is given more than once",
                                 "config: zero_optimization.stage: is given more than once"));
}

}  // namespace
}  // namespace spillway
