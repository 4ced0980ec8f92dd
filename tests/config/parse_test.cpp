// What a native file may say, and what becomes of it.
#include <gmock/gmock.h>

#include "config/support.h"

#include "spillway/log.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> notes_of(std::string_view json) {
  std::vector<std::string> notes;
  parse_config(json, {.notes = &notes});
  return notes;
}

TEST(ParseTest, EmptyObjectsAreTheDefaults) {
  const Config defaults;
  EXPECT_EQ(parse_config("{}"), defaults);
  EXPECT_EQ(parse_config(R"({"offload_param": {}, "offload_optimizer": {}, "io": {}})"), defaults);
  EXPECT_EQ(parse_config(R"({"offload_param": null, "io": null})"), defaults);
  EXPECT_EQ(parse_config("\xEF\xBB\xBF{}\n"), defaults) << "with a byte order mark";
  EXPECT_THAT(notes_of("{}"), IsEmpty());
}

TEST(ParseTest, TheDefaultsAreAsDocumented) {
  const Config c;
  EXPECT_EQ(c.offload_param.device, OffloadDevice::none);
  EXPECT_EQ(c.offload_param.buffer_count, 5);
  EXPECT_EQ(c.offload_param.buffer_size, 104857600);
  EXPECT_EQ(c.offload_param.max_in_cpu, 1073741824);
  EXPECT_FALSE(c.offload_param.pin_memory);
  EXPECT_EQ(c.offload_optimizer.buffer_count, 4);
  EXPECT_EQ(c.offload_optimizer.ratio, 1.0);
  EXPECT_FALSE(c.offload_optimizer.pipeline());
  EXPECT_NO_THROW(validate(c));
}

TEST(ParseTest, EveryFieldIsRead) {
  const Config c = parse_config(R"({
    "offload_param": {
      "device": "nvme", "nvme_path": ["/a", "b"], "buffer_count": 7, "buffer_size": 8192,
      "max_in_cpu": 9, "pin_memory": true
    },
    "offload_optimizer": {
      "device": "nvme", "nvme_path": ["/c", "/d"], "buffer_count": 3, "buffer_size": 4194304,
      "pin_memory": true, "pipeline_read": true, "pipeline_write": true, "fast_init": true,
      "ratio": 0.37, "pipeline": true
    },
    "io": {
      "engine": "io_uring", "block_size": 524288, "queue_depth": 32, "read_budget": 1048576,
      "write_budget": 2097152, "threads": 6, "stripe_unit": 65536, "path_weights": [2, 1],
      "direct": "on", "checksums": false, "huge_pages": "off", "numa_node": 1,
      "require_pinned": true, "dump_memory": false, "timeout": 12.5, "shutdown_timeout": 0
    }
  })");
  const OffloadParamConfig param{.device = OffloadDevice::nvme,
                                 .nvme_path = {"/a", "b"},
                                 .buffer_count = 7,
                                 .buffer_size = 8192,
                                 .max_in_cpu = 9,
                                 .pin_memory = true};
  const OffloadOptimizerConfig optimizer{.device = OffloadDevice::nvme,
                                         .nvme_path = {"/c", "/d"},
                                         .buffer_count = 3,
                                         .buffer_size = 4194304,
                                         .pin_memory = true,
                                         .pipeline_read = true,
                                         .pipeline_write = true,
                                         .fast_init = true,
                                         .ratio = 0.37};
  const IoConfig io{.engine = EngineChoice::io_uring,
                    .block_size = 524288,
                    .queue_depth = 32,
                    .read_budget = 1048576,
                    .write_budget = 2097152,
                    .threads = 6,
                    .stripe_unit = 65536,
                    .path_weights = {2, 1},
                    .direct = Switch::on,
                    .checksums = false,
                    .huge_pages = Switch::off,
                    .numa_node = 1,
                    .require_pinned = true,
                    .dump_memory = false,
                    .timeout = 12.5,
                    .shutdown_timeout = 0};
  EXPECT_EQ(c.offload_param, param);
  EXPECT_EQ(c.offload_optimizer, optimizer);
  EXPECT_EQ(c.io, io);
}

TEST(ParseTest, WholeNumbersComeInManyFormsAndStayExact) {
  const auto size = [](const std::string& text) {
    return parse_config("{\"offload_param\": {\"buffer_size\": " + text + "}}")
        .offload_param.buffer_size;
  };
  EXPECT_EQ(size("100000000"), 100000000);
  EXPECT_EQ(size("1e8"), 100000000);
  EXPECT_EQ(size("1E+8"), 100000000);
  EXPECT_EQ(size("1.5e3"), 1500);
  EXPECT_EQ(size("4096.0"), 4096);
  EXPECT_EQ(size("81920e-1"), 8192);
  EXPECT_EQ(size("-0"), 0);
  EXPECT_EQ(size("\"100MB\""), 100000000);
  EXPECT_EQ(size("\"96MiB\""), 96 << 20);
  EXPECT_EQ(size("\"1.5 GiB\""), std::int64_t{3} << 29);
  EXPECT_EQ(size("\"1e8\""), 100000000);
  // 2^53 + 1 and its like have no double.
  EXPECT_EQ(size("9007199254740993"), 9007199254740993);
  EXPECT_EQ(size("9007199254740993.0"), 9007199254740993);
  EXPECT_EQ(size("0.9007199254740993e16"), 9007199254740993);

  const Config c = parse_config(R"({"offload_param": {"max_in_cpu": "1G", "buffer_count": "6"}})");
  EXPECT_EQ(c.offload_param.max_in_cpu, 1000000000);
  EXPECT_EQ(c.offload_param.buffer_count, 6);
}

TEST(ParseTest, RealNumbersTakeWholeOnes) {
  EXPECT_EQ(parse_config(R"({"offload_optimizer": {"ratio": 0}})").offload_optimizer.ratio, 0.0);
  EXPECT_EQ(parse_config(R"({"offload_optimizer": {"ratio": 1}})").offload_optimizer.ratio, 1.0);
  EXPECT_EQ(parse_config(R"({"offload_optimizer": {"ratio": 5e-1}})").offload_optimizer.ratio, 0.5);
  EXPECT_EQ(parse_config(R"({"offload_optimizer": {"ratio": 1e-320}})").offload_optimizer.ratio,
            1e-320);
}

TEST(ParseTest, SwitchesTakeBooleansToo) {
  const Config c = parse_config(R"({"io": {"direct": true, "huge_pages": false}})");
  EXPECT_EQ(c.io.direct, Switch::on);
  EXPECT_EQ(c.io.huge_pages, Switch::off);
  EXPECT_EQ(parse_config(R"({"io": {"direct": "auto"}})").io.direct, Switch::automatic);
}

TEST(ParseTest, AutoAndNullTakeTheDefaultAndSaySo) {
  EXPECT_EQ(parse_config(R"({"offload_param": {"device": "auto", "buffer_size": "auto",
                             "max_in_cpu": "auto", "nvme_path": "auto", "pin_memory": null},
                             "offload_optimizer": {"ratio": "auto", "buffer_size": "auto"}})"),
            Config{});
  EXPECT_THAT(notes_of(R"({"offload_param": {"buffer_count": "auto", "max_in_cpu": null}})"),
              ElementsAre("config: offload_param.buffer_count: \"auto\" takes the default, 5",
                          "config: offload_param.max_in_cpu: null takes the default, 1073741824"));
  EXPECT_THAT(notes_of(R"({"offload_optimizer": {"buffer_size": "auto"}})"),
              ElementsAre(HasSubstr("chosen by the plan")));
  // For what is unset by default null says nothing new, and "auto" of a switch is a value.
  EXPECT_THAT(notes_of(R"({"offload_optimizer": {"buffer_size": null, "nvme_path": null,
                           "pipeline": null},
                           "io": {"path_weights": null, "direct": "auto", "engine": "auto"}})"),
              IsEmpty());
}

TEST(ParseTest, APathMayBeAStringOrAnArrayAndStandUnused) {
  const auto paths = [](const std::string& text) {
    return parse_config("{\"offload_param\": {\"device\": \"cpu\", \"nvme_path\": " + text + "}}")
        .offload_param.nvme_path;
  };
  using Paths = std::vector<std::filesystem::path>;
  EXPECT_EQ(paths("\"/local_nvme\""), Paths{"/local_nvme"});
  EXPECT_EQ(paths("\"relative/dir\""), Paths{"relative/dir"});
  EXPECT_EQ(paths("[\"/a\", \"/b\"]"), (Paths{"/a", "/b"}));
  EXPECT_EQ(paths("[]"), Paths{});
  EXPECT_EQ(paths("null"), Paths{});
  EXPECT_EQ(paths("\"~/swap\""), Paths{"~/swap"}) << "nothing is expanded";
  EXPECT_EQ(paths("\"/m\\u00fcll\""), Paths{"/m\xc3\xbcll"});
}

TEST(ParseTest, PipelineMayBeWrittenOutIfItAgrees) {
  EXPECT_NO_THROW(parse_config(R"({"offload_optimizer": {"pipeline": false}})"));
  EXPECT_NO_THROW(
      parse_config(R"({"offload_optimizer": {"pipeline": true, "pipeline_write": true}})"));
}

TEST(ParseTest, DeepSpeedsKeysWithoutMeaningGiveOneWarning) {
  EXPECT_THAT(notes_of(R"({"offload_optimizer": {"super_offload": true, "cpuadam_cores_perc": 0.8},
                           "io": {"single_submit": false, "overlap_events": true}})"),
              ElementsAre("config: without meaning here and ignored: "
                          "offload_optimizer.super_offload, offload_optimizer.cpuadam_cores_perc, "
                          "io.single_submit and io.overlap_events"));
}

TEST(ParseTest, WarningsGoToTheLogWithTheNameOfTheFile) {
  std::vector<std::string> logged;
  set_log_sink([&](LogLevel level, std::string_view line) {
    if (level == LogLevel::warning) logged.emplace_back(line);
  });
  std::vector<std::string> notes;
  parse_config(R"({"io": {"use_gds": true}})", {.notes = &notes}, "my.json");
  set_log_sink({});
  EXPECT_THAT(logged, ElementsAre("my.json: without meaning here and ignored: io.use_gds"));
  EXPECT_EQ(logged, notes);
}

TEST(ParseTest, TheEffectiveConfigIsLoggedInBytes) {
  std::string logged;
  set_log_level(LogLevel::info);
  set_log_sink([&](LogLevel, std::string_view line) { (logged += line) += '\n'; });
  parse_config(R"({"zero_optimization": {"offload_param": {"buffer_size": 1e8}}})");
  set_log_sink({});
  set_log_level(LogLevel::warning);
  EXPECT_THAT(logged, HasSubstr("config: offload_param.buffer_size = 200000000 bytes (190.7 MiB)"));
  EXPECT_THAT(logged, HasSubstr("not given, so Spillway's defaults apply: "
                                "zero_optimization.offload_param.device, "));
  EXPECT_THAT(logged, HasSubstr(", aio.queue_depth, "));
}

TEST(ParseTest, WrongLoadOptionsAreTheCallersFault) {
  for (const std::int64_t width : {0, -2, 17}) {
    const auto failure = failure_of([&] { parse_config("{}", {.ds_element_bytes = width}); });
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->code, Errc::invalid_argument);
  }
}

TEST(DescribeTest, HasALineForEachSettingInItsUnit) {
  Config c;
  c.offload_param.nvme_path = {"/a", "/b"};
  c.io.read_budget = 4096;
  c.io.path_weights = {1, 2};
  const std::string text = describe(c);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6 + 9 + 16 - 1);
  for (const char* line :
       {"offload_param.device = none\n", "offload_param.nvme_path = [\"/a\", \"/b\"]\n",
        "offload_param.buffer_size = 104857600 bytes (100.0 MiB)\n",
        "offload_param.max_in_cpu = 1073741824 elements\n", "offload_optimizer.nvme_path = null\n",
        "offload_optimizer.buffer_size = chosen by the plan\n", "offload_optimizer.ratio = 1\n",
        "io.read_budget = 4096 bytes (4.0 KiB)\n", "io.path_weights = [1, 2]\n",
        "io.engine = auto\n", "io.timeout = 30 s\n"})
    EXPECT_THAT(text + "\n", HasSubstr(line));
}

}  // namespace
}  // namespace spillway
