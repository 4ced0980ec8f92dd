// The tree as it stands keeps the rules of the house; rules_test.cpp shows that they can fail.
#include <gtest/gtest.h>

#include <algorithm>

#include "house/rules.h"

namespace spillway::house {
namespace {

class HouseTest : public testing::Test {
 protected:
  static const std::vector<SourceFile>& tree() {
    static const std::vector<SourceFile> files = read_tree(SPILLWAY_SOURCE_DIR);
    return files;
  }

  static std::string lines(const std::vector<std::string>& violations) {
    std::string text;
    for (const std::string& violation : violations) text += violation + "\n";
    return text;
  }
};

TEST_F(HouseTest, TheTreeIsRead) {
  const auto holds = [](const char* path) {
    return std::ranges::any_of(tree(), [&](const SourceFile& file) { return file.path == path; });
  };
  EXPECT_TRUE(holds("include/spillway/error.h"));
  EXPECT_TRUE(holds("src/base/error.cpp"));
}

TEST_F(HouseTest, IncludesPointOneWay) { EXPECT_EQ(lines(upward_edges(tree())), ""); }

TEST_F(HouseTest, TheSystemHasOneDoor) { EXPECT_EQ(lines(second_doors(tree())), ""); }

TEST_F(HouseTest, PublicHeadersNameNoLibrary) { EXPECT_EQ(lines(leaked_libraries(tree())), ""); }

TEST_F(HouseTest, SlowHeadersStayInTheirPlace) { EXPECT_EQ(lines(spread_headers(tree())), ""); }

}  // namespace
}  // namespace spillway::house
