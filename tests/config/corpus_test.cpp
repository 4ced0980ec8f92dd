// The corpus as a whole: large enough, loads where it must, and never takes memory out of
// proportion to the text.
#include "config/corpus.h"

#include <gmock/gmock.h>

#include <set>

#include "config/support.h"
#include "support/heap/heap.h"

#include "spillway/log.h"

namespace spillway {
namespace {

using testing::HasSubstr;

class GoodInputTest : public testing::TestWithParam<GoodInput> {};

TEST_P(GoodInputTest, LoadsAndSaysWhatBecameOfIt) {
  set_log_level(LogLevel::off);
  std::vector<std::string> notes;
  const Config config = parse_config(GetParam().json, {.notes = &notes});
  set_log_level(LogLevel::warning);
  EXPECT_THAT("\n" + describe(config) + "\n",
              HasSubstr("\n" + std::string(GetParam().line) + "\n"));
  if (GetParam().note.empty()) {
    EXPECT_THAT(notes, testing::IsEmpty());
  } else {
    EXPECT_THAT(notes, testing::ElementsAre(HasSubstr(std::string(GetParam().note))));
  }
}
INSTANTIATE_TEST_SUITE_P(RealFiles, GoodInputTest, testing::ValuesIn(good_inputs()));

TEST(CorpusTest, HoldsTwoHundredDifferentCases) {
  const auto all = corpus();
  EXPECT_GE((std::set<std::string_view>(all.begin(), all.end()).size()), 200u);
}

// Most bytes that were alive while `text` was read, above those before.
std::int64_t peak_of(std::string_view text) {
  set_log_level(LogLevel::off);
  test::restart_peak();
  const std::int64_t before = test::heap().bytes;
  try {
    parse_config(text);
  } catch (const Error&) {
  }
  set_log_level(LogLevel::warning);
  return test::heap().peak_bytes - before;
}

// A value of the tree and the word that is said about it, for each two bytes of text at worst.
constexpr std::int64_t fixed = 64 * 1024;
constexpr std::int64_t per_byte = 300;

TEST(CorpusTest, MemoryIsInProportionToTheText) {
  for (const std::string_view text : corpus())
    EXPECT_LE(peak_of(text), fixed + per_byte * static_cast<std::int64_t>(text.size())) << text;
}

// Sizes, counts and depths that a small text only talks about are never allocated.
TEST(CorpusTest, LargeTextsTakeNoMoreThanTheirShare) {
  const auto repeated = [](std::string_view head, std::string_view piece, std::string_view tail) {
    std::string text(head);
    while (text.size() < 400'000) text += piece;
    return text + std::string(tail);
  };
  for (const std::string& text :
       {repeated("[", "0,", "0]"), repeated("{\"io\": {", "\"\":0,", "\"x\":0}}"),
        repeated("{\"zero_optimization\": {}, ", "\"a\":0,", "\"b\":0}"),
        repeated("{\"io\": {\"path_weights\": [", "1,", "1]}}"),
        repeated("{\"io\": {\"path_weights\": [", "0,", "0]}}"),
        repeated("{\"offload_param\": {\"nvme_path\": [", "\"\",", "\"/a\"]}}"),
        repeated("", "[", ""), repeated("", "{\"a\":", ""),
        repeated("{\"io\": {\"engine\": \"", "\\u0000", "\"}}"),
        repeated("{\"io\": {\"", "k", "\": 1}}"),
        repeated("{\"offload_param\": {\"buffer_size\": \"", "9", "\"}}"),
        repeated("{\"offload_param\": {\"buffer_size\": ", "9", "}}")})
    EXPECT_LE(peak_of(text), fixed + per_byte * static_cast<std::int64_t>(text.size()))
        << text.substr(0, 60);
}

// A foreign file may repeat itself a hundred thousand times; nobody reads that many lines.
TEST(CorpusTest, NotesAreBoundedToo) {
  std::string text = "{\"zero_optimization\": {}";
  for (int i = 0; i < 5000; ++i) text += ", \"fp16\": {}";
  text += "}";
  std::vector<std::string> notes;
  set_log_level(LogLevel::off);
  parse_config(text, {.notes = &notes});
  set_log_level(LogLevel::warning);
  ASSERT_EQ(notes.size(), 101u);
  EXPECT_EQ(notes.front(), "config: fp16: is given more than once");
  EXPECT_EQ(notes.back(), "config: and 4899 more");
}

}  // namespace
}  // namespace spillway
