#pragma once

#include <string>
#include <vector>

#include "house/source_file.h"

namespace spillway::house {

/// The rules of the house, each over all files of the tree; every violation is one line that
/// begins with "path:line:" and says what to do instead.
///
/// Rooms in order: a file of src/ROOM includes from its own room, from rooms above it, and public
/// headers, each by its full name ("io/engine.h"). Public headers include only one another; the
/// tool and the examples only those and files of their own folder.
std::vector<std::string> upward_edges(const std::vector<SourceFile>& files);

/// Kernel and drivers have one door: nobody but src/sys names liburing, page tables, statx,
/// dlopen, CUDA, or makes a system call by number.
std::vector<std::string> second_doors(const std::vector<SourceFile>& files);

/// Public headers name none of the libraries that we are built with.
std::vector<std::string> leaked_libraries(const std::vector<SourceFile>& files);

/// Headers that are slow to compile stay where they belong: nlohmann-json in at most three
/// translation units of src/, spdlog in one, CLI11 in the tool.
std::vector<std::string> spread_headers(const std::vector<SourceFile>& files);

}  // namespace spillway::house
