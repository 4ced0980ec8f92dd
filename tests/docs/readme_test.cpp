// What the README shows is what examples/first_steps.cpp compiles and runs.

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace spillway {
namespace {

std::string text_of(const std::string& file) {
  std::ifstream in(std::string(SPILLWAY_SOURCE_DIR) + "/" + file);
  EXPECT_TRUE(in) << file;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// From the line `int main() {` to the end.
std::string main_of(const std::string& program) {
  const auto at = program.find("int main() {");
  return at == std::string::npos ? "" : program.substr(at);
}

TEST(ReadmeTest, ShowsTheExampleThatIsCompiledAndRun) {
  const std::string readme = text_of("README.md");
  const auto begin = readme.find("```cpp\n");
  ASSERT_NE(begin, std::string::npos);
  const auto end = readme.find("```", begin + 7);
  const std::string shown = readme.substr(begin + 7, end - begin - 7);
  EXPECT_EQ(shown.rfind("#include <spillway/spillway.h>", 0), 0u);
  ASSERT_FALSE(main_of(shown).empty());
  EXPECT_EQ(main_of(shown), main_of(text_of("examples/first_steps.cpp")));
}

TEST(ReadmeTest, OpensWithTheTwoCommands) {
  const std::string readme = text_of("README.md");
  const auto first = readme.find("./scripts/quickstart.sh");
  const auto second = readme.find("./scripts/test.sh");
  ASSERT_NE(first, std::string::npos);
  ASSERT_NE(second, std::string::npos);
  EXPECT_LT(first, second);
  EXPECT_LT(second, readme.find("```cpp"));
}

}  // namespace
}  // namespace spillway
