// Every way in which a file can be wrong: the place it is told at, and the gist of what is told.
#include <gmock/gmock.h>

#include <algorithm>

#include "config/corpus.h"
#include "config/support.h"

namespace spillway {
namespace {

class BadInputTest : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputTest, IsOneProblemAtItsPlace) {
  const auto failure = parse_failure(GetParam().json);
  ASSERT_TRUE(failure) << "was accepted";
  EXPECT_EQ(failure->code, Errc::invalid_config);
  ASSERT_EQ(failure->lines.size(), 2U) << failure->text();
  EXPECT_EQ(failure->lines[0], "config: 1 problem");
  const std::string start = "  " + std::string(GetParam().path) + ": ";
  EXPECT_TRUE(failure->lines[1].starts_with(start)) << failure->text();
  EXPECT_THAT(failure->lines[1], testing::HasSubstr(std::string(GetParam().fragment)));
}
INSTANTIATE_TEST_SUITE_P(Types, BadInputTest, testing::ValuesIn(bad_types()));
INSTANTIATE_TEST_SUITE_P(Numbers, BadInputTest, testing::ValuesIn(bad_numbers()));
INSTANTIATE_TEST_SUITE_P(Keys, BadInputTest, testing::ValuesIn(bad_keys()));
INSTANTIATE_TEST_SUITE_P(Rules, BadInputTest, testing::ValuesIn(bad_rules()));
INSTANTIATE_TEST_SUITE_P(DeepSpeed, BadInputTest, testing::ValuesIn(bad_deepspeed()));
INSTANTIATE_TEST_SUITE_P(Hostile, BadInputTest, testing::ValuesIn(bad_hostile()));

// A syntax error is one line with its place and, where people often stumble, what to do.
class BadSyntaxTest : public testing::TestWithParam<BadSyntax> {};

TEST_P(BadSyntaxTest, NamesLineAndColumn) {
  const auto failure = parse_failure(GetParam().json);
  ASSERT_TRUE(failure) << "was accepted";
  EXPECT_EQ(failure->code, Errc::invalid_config);
  ASSERT_EQ(failure->lines.size(), 1U) << failure->text();
  EXPECT_TRUE(failure->lines[0].starts_with("config: " + std::string(GetParam().place) + ": "))
      << failure->text();
  EXPECT_THAT(failure->lines[0], testing::HasSubstr(std::string(GetParam().fragment)));
}

INSTANTIATE_TEST_SUITE_P(Places, BadSyntaxTest, testing::ValuesIn(bad_syntax()));

TEST(BadFileTest, RootMustBeAnObject) {
  for (const auto& [json, what] : {std::pair{"[1]", "an array"},
                                   {"3", "3"},
                                   {"null", "null"},
                                   {"\"x\"", "\"x\""},
                                   {"true", "true"}}) {
    const auto failure = parse_failure(json);
    ASSERT_TRUE(failure) << json;
    EXPECT_EQ(failure->lines, std::vector<std::string>{
                                  std::string("config: must hold a JSON object, holds ") + what});
  }
}

TEST(BadFileTest, AllProblemsAreToldAtOnce) {
  const auto failure = parse_failure(R"({
    "zero_optimization": {
      "offload_param": {"device": "nvme", "buffer_count": 1.5, "pipeline_read": true},
      "offload_optimizer": {"ratio": 1.5, "device": "disk", "fast_int": true}
    },
    "aio": {"block_size": 1000, "single_submit": true}
  })");
  ASSERT_TRUE(failure);
  EXPECT_THAT(
      failure->lines,
      testing::UnorderedElementsAre(
          "config: 7 problems", testing::HasSubstr("  zero_optimization.offload_param.nvme_path: "),
          testing::HasSubstr("  zero_optimization.offload_param.buffer_count: "),
          testing::HasSubstr("  zero_optimization.offload_param.pipeline_read: "),
          testing::HasSubstr("  zero_optimization.offload_optimizer.ratio: "),
          testing::HasSubstr("  zero_optimization.offload_optimizer.device: "),
          testing::HasSubstr("  zero_optimization.offload_optimizer.fast_int: "),
          testing::HasSubstr("  aio.block_size: ")));
}

TEST(BadFileTest, AFileOfAnotherKindEndsInABoundedMessage) {
  std::string json = "{\"io\": {";
  for (int i = 0; i < 5000; ++i) json += "\"unknown" + std::to_string(i) + "\": 0, ";
  json += "\"" + std::string(100'000, 'k') + "\": 0}}";
  const auto failure = parse_failure(json);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->lines.size(), 102U);
  EXPECT_EQ(failure->lines.front(), "config: 5001 problems");
  EXPECT_EQ(failure->lines.back(), "  and 4901 more");
}

TEST(BadFileTest, LongValuesAreCutWithoutBreakingACharacter) {
  std::string path;
  for (int i = 0; i < 200; ++i) path += "ü";
  const auto failure = parse_failure("{\"io\": {\"engine\": \"x" + path + "\"}}");
  ASSERT_TRUE(failure);
  ASSERT_EQ(failure->lines.size(), 2U);
  EXPECT_LT(failure->lines[1].size(), 200U);
  EXPECT_THAT(failure->lines[1], testing::EndsWith("ü...\""));
}

TEST(BadFileTest, DeepAndLargeTextsAreRefusedUnharmed) {
  const auto refused = [](const std::string& json, const std::string& fragment) {
    const auto failure = parse_failure(json);
    ASSERT_TRUE(failure) << fragment;
    EXPECT_THAT(failure->text(), testing::HasSubstr(fragment));
  };
  refused(std::string(1'000'000, '['), "nested more than 64 levels deep");
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"a\":";
  refused(objects, "nested more than 64 levels deep");
  std::string many = "[0";
  for (int i = 0; i < 200'000; ++i) many += ",0";
  refused(many + "]", "holds more than 100000 values");
  refused(std::string(17 * 1024 * 1024, ' '), "larger than 16 MiB");
  refused("{\"io\": {\"timeout\": " + std::string(1'000'000, '9') + "}}", "number overflow");
  refused("{\"offload_param\": {\"buffer_count\": \"" + std::string(1'000'000, '9') + "\"}}",
          "must be");
}

}  // namespace
}  // namespace spillway
