#pragma once

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "cli_program.h"

namespace spillway {

/// A run that must succeed and leave nothing: the one JSON value that it prints.
inline nlohmann::json json_of_run(const std::vector<std::string>& arguments) {
  std::string line;
  for (const std::string& argument : arguments) line += argument + " ";
  SCOPED_TRACE(line);
  CliProgram program;
  const CliProgram::End end = program.run(arguments);
  EXPECT_EQ(end.status, 0) << end.err;
  EXPECT_TRUE(program.here().names().empty()) << "something was left behind";
  auto result = nlohmann::json::parse(end.out, nullptr, false);  // exactly one value, or discarded
  EXPECT_TRUE(result.is_object()) << end.out;
  return result;
}

}  // namespace spillway
