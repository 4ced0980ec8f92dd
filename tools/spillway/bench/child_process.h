#pragma once

#include <string>
#include <vector>

namespace spillway::tool {

/// The words that start a program of others so that it ends with us, whatever ends us;
/// `small_pages` keeps transparent huge pages from it. They run this very program (`bench-child`),
/// and so serve only the tool itself.
std::vector<std::string> child_launcher(bool small_pages);

/// The other side: becomes the program `words`, whose parent is `parent`. Returns only an exit
/// status for what cannot be started.
int become_child(int parent, bool small_pages, const std::vector<std::string>& words);

}  // namespace spillway::tool
