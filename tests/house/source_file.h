#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace spillway::house {

struct Include {
  std::string target;  ///< what stands between the quotes or brackets
  bool quoted = false;
  int line = 0;
};

/// A C++ file as the rules see it.
struct SourceFile {
  std::string path;  ///< from the root of the tree, with '/': "src/io/engine.h"
  std::vector<Include> includes;
  std::string code;  ///< without comments, include lines, and what stands in literals; same lines
};

SourceFile parse_source(std::string path, std::string_view text);

/// All *.h, *.cpp and *.inc below `root`/{include,src,tools,examples}, in order of their paths.
std::vector<SourceFile> read_tree(const std::filesystem::path& root);

}  // namespace spillway::house
