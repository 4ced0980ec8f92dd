// Each row of docs/reliability.md names the tests that prove it, and each of them exists.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace spillway {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  EXPECT_TRUE(in) << file;
  return std::string{std::istreambuf_iterator<char>(in), {}};
}

/// "Suite.Name" of every test below tests/, and the paths of scripts that are tests.
std::set<std::string> existing_tests() {
  static const std::regex test(
      R"((?:TEST|TEST_F|TEST_P|RC_GTEST_PROP|RC_GTEST_FIXTURE_PROP)\(\s*(\w+)\s*,\s*(\w+))");
  std::set<std::string> all;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(SPILLWAY_SOURCE_DIR) / "tests")) {
    if (entry.path().extension() != ".cpp") continue;
    const std::string text = text_of(entry.path());
    for (std::sregex_iterator at(text.begin(), text.end(), test), end; at != end; ++at)
      all.insert((*at)[1].str() + "." + (*at)[2].str());
  }
  return all;
}

struct Row {
  std::size_t line;
  std::vector<std::string> cells;
};

/// The rows of the tables that have a column "test", without their heads.
std::vector<Row> rows_of(const std::string& text) {
  std::vector<Row> rows;
  std::istringstream lines(text);
  bool counts = false;
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.starts_with("|")) {
      counts = false;
      continue;
    }
    if (line.starts_with("|--") || line.starts_with("| --")) continue;
    Row row{number, {}};
    std::istringstream cells(line.substr(1));
    for (std::string cell; std::getline(cells, cell, '|');) row.cells.push_back(cell);
    if (!row.cells.empty() && row.cells.back().find_first_not_of(' ') == std::string::npos)
      row.cells.pop_back();
    if (!counts) {
      counts = line.find("| test |") != std::string::npos;  // the head
      continue;
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

TEST(ReliabilityTest, EveryRowNamesTestsThatExist) {
  const std::set<std::string> tests = existing_tests();
  ASSERT_GT(tests.size(), 300u) << "the tests were not found";
  const std::vector<Row> rows =
      rows_of(text_of(fs::path(SPILLWAY_SOURCE_DIR) / "docs" / "reliability.md"));
  ASSERT_GT(rows.size(), 20u) << "the tables were not found";
  static const std::regex name(R"(`(\w+\.\w+)`)");
  for (const Row& row : rows) {
    ASSERT_EQ(row.cells.size(), 5u) << "docs/reliability.md:" << row.line
                                    << ": fault, how it is made, what the user sees, what is kept, "
                                       "test";
    const std::string& cell = row.cells.back();
    int named = 0;
    for (std::sregex_iterator at(cell.begin(), cell.end(), name), end; at != end; ++at, ++named)
      EXPECT_TRUE(tests.contains((*at)[1].str()))
          << "docs/reliability.md:" << row.line << ": there is no test " << (*at)[1];
    EXPECT_GT(named, 0) << "docs/reliability.md:" << row.line << " names no test";
  }
}

// The check above would pass on anything if it could not tell a test from a word.
TEST(ReliabilityTest, AMissingTestWouldBeSeen) {
  const std::set<std::string> tests = existing_tests();
  EXPECT_TRUE(tests.contains("ReliabilityTest.AMissingTestWouldBeSeen"));
  EXPECT_FALSE(tests.contains("ReliabilityTest.NobodyWroteThis"));
  EXPECT_EQ(rows_of("| a | test |\n|---|---|\n| x | `A.B` |\n\n| c |\n|---|\n| y |\n").size(), 1u);
}

}  // namespace
}  // namespace spillway
