#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/config.h"
#include "spillway/error.h"

namespace spillway {

/// A fresh directory, gone with all it holds at the end.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const char* base = std::getenv("TMPDIR");
    std::string name = (std::filesystem::path(base ? base : ".") / "config-test-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp " + name);
    path_ = std::filesystem::absolute(name);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path file(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  std::filesystem::path directory(const std::string& name) const {
    std::filesystem::create_directories(path_ / name);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

struct Failure {
  Errc code;
  std::vector<std::string> lines;  ///< of what(); the first is the summary

  std::string text() const {
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    return all;
  }
};

/// What `work` throws, or nullopt.
inline std::optional<Failure> failure_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    Failure failure{error.code(), {}};
    std::istringstream text(error.what());
    for (std::string line; std::getline(text, line);) failure.lines.push_back(line);
    return failure;
  }
  return std::nullopt;
}

inline std::optional<Failure> parse_failure(std::string_view json) {
  return failure_of([&] { parse_config(json); });
}

}  // namespace spillway
