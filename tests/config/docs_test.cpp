// docs/configuration.md says what the code does: every key, default and range, and its examples.
#include <gmock/gmock.h>

#include <fstream>
#include <iomanip>
#include <map>
#include <set>
#include <sstream>

#include "config/fields.h"
#include "config/reading.h"
#include "config/support.h"

namespace spillway::config {
namespace {

using testing::HasSubstr;

struct Row {
  std::string key, unit, value, range;
};

std::vector<std::string> lines_of_document() {
  std::ifstream file(SPILLWAY_SOURCE_DIR "/docs/configuration.md");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// "| a | b |": {"a", "b"}, without the backticks around a whole cell.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream text(line.substr(1));
  for (std::string cell; std::getline(text, cell, '|');) {
    const std::size_t first = cell.find_first_not_of(' '), last = cell.find_last_not_of(' ');
    cell = first == std::string::npos ? "" : cell.substr(first, last - first + 1);
    if (cell.size() > 1 && cell.front() == '`' && cell.find('`', 1) == cell.size() - 1)
      cell = cell.substr(1, cell.size() - 2);
    cells.push_back(cell);
  }
  return cells;
}

// The tables by the heading that they stand under ("## `io`", "## `offload_param`/### In
// DeepSpeed").
std::map<std::string, std::vector<Row>> tables() {
  std::map<std::string, std::vector<Row>> found;
  std::string chapter, section;
  for (const std::string& line : lines_of_document()) {
    if (line.starts_with("## ")) {
      chapter = line;
      section.clear();
    }
    if (line.starts_with("### ")) section = "/" + line;
    if (!line.starts_with("| ") || line.starts_with("| key ")) continue;
    std::vector<std::string> cells = cells_of(line);
    cells.resize(5);
    found[chapter + section].push_back({cells[0], cells[1], cells[2], cells[3]});
  }
  return found;
}

std::vector<std::string> keys_of(const std::vector<Row>& rows) {
  std::vector<std::string> keys;
  for (const Row& row : rows) keys.push_back(row.key);
  return keys;
}
std::vector<std::string> keys_of(const Section& section) {
  std::vector<std::string> keys;
  for (const Field& field : section.fields) keys.emplace_back(field.key);
  return keys;
}

TEST(DocsTest, TheTablesHoldTheKeysOfTheCode) {
  Config config;
  const auto found = tables();
  for (const Section& section : sections(config)) {
    const std::string heading = "## `" + std::string(section.name) + "`";
    ASSERT_TRUE(found.count(heading)) << heading;
    EXPECT_EQ(keys_of(found.at(heading)), keys_of(section)) << heading;
    if (section.name == "io") continue;
    ASSERT_TRUE(found.count(heading + "/### In DeepSpeed")) << heading;
    EXPECT_EQ(keys_of(found.at(heading + "/### In DeepSpeed")), keys_of(section)) << heading;
  }
}

TEST(DocsTest, TheAioTableHoldsTheKeysOfTheCode) {
  std::map<std::string, std::string> expected, documented;
  for (const AioKey& key : aio_keys())
    expected[std::string(key.name)] = "io." + std::string(key.io_key);
  std::string text;
  for (const std::string& line : lines_of_document()) text += line + "\n";
  for (const IgnoredKey& ignored : ignored_keys()) {
    if (ignored.section == "io") expected[std::string(ignored.key)] = "";
    EXPECT_THAT(text, HasSubstr("`" + std::string(ignored.key) + "`"));
  }
  const auto found = tables();
  for (const Row& row : found.at("## In a ds_config.json/### `aio`"))
    documented[row.key] = row.unit;
  EXPECT_EQ(documented, expected);
}

struct ExpectedRange {
  std::string operator()(const Whole& whole) const { return of(whole.limits); }
  std::string operator()(const OptionalWhole& whole) const { return of(whole.limits); }
  std::string operator()(const SmallWhole& whole) const { return of(whole.limits); }
  std::string operator()(const Wholes& wholes) const { return of(wholes.limits); }
  std::string operator()(const Real& real) const {
    std::ostringstream text;
    text << real.min << " to " << std::fixed << std::setprecision(0) << real.max;
    return text.str();
  }
  std::string operator()(const Flag&) const { return "`true`, `false`"; }
  std::string operator()(const Paths&) const { return "directories"; }
  template <typename E>
  std::string operator()(E* value) const {
    std::string text;
    for (const auto& named : names(*value))
      text += (text.empty() ? "`" : ", `") + std::string(named.name) + "`";
    return text;
  }
  static std::string of(const Limits& limits) {
    std::string text = std::to_string(limits.min) + " to " + std::to_string(limits.max);
    if (limits.multiple > 1) text += ", a multiple of " + std::to_string(limits.multiple);
    return text;
  }
};

TEST(DocsTest, DefaultsUnitsAndRangesAreThoseOfTheCode) {
  Config config;
  auto found = tables();
  for (const Section& section : sections(config)) {
    for (const Row& row : found["## `" + std::string(section.name) + "`"]) {
      const Field* field = section.find(row.key);
      ASSERT_NE(field, nullptr) << row.key;
      EXPECT_EQ(row.value, text_of(*field)) << section.name << "." << row.key;
      EXPECT_THAT(row.range, HasSubstr(std::visit(ExpectedRange{}, field->slot))) << row.key;
      EXPECT_EQ(row.unit == "bytes", field->unit == Unit::bytes) << row.key;
      EXPECT_EQ(row.unit == "elements", field->unit == Unit::elements) << row.key;
      EXPECT_EQ(row.unit == "seconds", field->unit == Unit::seconds) << row.key;
    }
  }
}

TEST(DocsTest, TheExamplesLoadWithoutANote) {
  std::string example;
  bool inside = false;
  int examples = 0;
  for (const std::string& line : lines_of_document()) {
    if (line == "```json") {
      inside = true;
      example.clear();
    } else if (line == "```" && inside) {
      inside = false;
      ++examples;
      std::vector<std::string> notes;
      EXPECT_NO_THROW(parse_config(example, {.notes = &notes})) << example;
      EXPECT_THAT(notes, testing::IsEmpty()) << example;
    } else if (inside) {
      example += line + "\n";
    }
  }
  EXPECT_EQ(examples, 3);
}

// The message that the document shows is the message that is given.
TEST(DocsTest, TheMessageShownIsTheMessageGiven) {
  std::string shown_text;
  bool inside = false;
  for (const std::string& line : lines_of_document()) {
    if (line == "```text")
      inside = true;
    else if (line == "```")
      inside = false;
    else if (inside)
      shown_text += line + "\n";
  }
  const auto failure = failure_of([] {
    parse_config(R"({"zero_optimization": {"offload_param": {"pipeline_read": true},
                     "offload_optimizer": {"ratio": 1.5}}})",
                 {}, "ds_config.json");
  });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->text(), shown_text);
}

}  // namespace
}  // namespace spillway::config
