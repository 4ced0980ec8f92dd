#include "store/directory_name.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace spillway::store {
namespace {

const std::string host = "0123456789abcdef";

TEST(DirectoryNameTest, ReadsWhatItWrites) {
  const DirectoryName made = DirectoryName::make(host);
  const auto parsed = DirectoryName::parse(made.text());
  ASSERT_TRUE(parsed) << made.text();
  EXPECT_EQ(parsed->host, host);
  EXPECT_EQ(parsed->pid, made.pid);
  EXPECT_EQ(parsed->random, made.random);
}

TEST(DirectoryNameTest, InstancesOfOneProcessDiffer) {
  std::set<std::string> names;
  for (int i = 0; i < 100; ++i) names.insert(DirectoryName::make(host).text());
  EXPECT_EQ(names.size(), 100u);
}

TEST(DirectoryNameTest, RefusesEverythingElse) {
  ASSERT_TRUE(DirectoryName::parse("spillway-0123456789abcdef-4711-k3x9qz"));
  for (const char* name : {
           "",
           "spillway",
           "spillway-",
           "spillway-0123456789abcdef",
           "spillway-0123456789abcdef-4711",
           "spillway-0123456789abcdef-4711-",
           "spillway-0123456789abcdef-4711-k3x9q",    // too short
           "spillway-0123456789abcdef-4711-k3x9qzz",  // too long
           "spillway-0123456789abcdef-4711-k3x9qZ",   // capital
           "spillway-0123456789abcdef-4711-k3x9qz~",
           "spillway-0123456789abcdeg-4711-k3x9qz",  // not hex
           "spillway-0123456789ABCDEF-4711-k3x9qz",
           "spillway-0123456789abcde-4711-k3x9qz",
           "spillway-0123456789abcdef-04711-k3x9qz",  // not as we write it
           "spillway-0123456789abcdef-+4711-k3x9qz",
           "spillway-0123456789abcdef--4711-k3x9qz",
           "spillway-0123456789abcdef-0-k3x9qz",
           "spillway-0123456789abcdef-99999999999-k3x9qz",
           "spillway-0123456789abcdef--k3x9qz",
           "xspillway-0123456789abcdef-4711-k3x9qz",
           "Spillway-0123456789abcdef-4711-k3x9qz",
       }) {
    EXPECT_FALSE(DirectoryName::parse(name)) << name;
  }
}

}  // namespace
}  // namespace spillway::store
