#include "house/rules.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string_view>

namespace spillway::house {
namespace {

constexpr std::array<std::string_view, 10> rooms{"base",  "sys",   "config", "memory", "io",
                                                 "store", "cache", "swap",   "tune",   "context"};

std::optional<std::size_t> rank_of(std::string_view room) {
  const auto found = std::ranges::find(rooms, room);
  if (found == rooms.end()) return std::nullopt;
  return static_cast<std::size_t>(found - rooms.begin());
}

bool in_folder(const SourceFile& file, std::string_view folder) {
  return file.path.starts_with(folder) && file.path.substr(folder.size()).starts_with('/');
}

bool is_public_header(std::string_view target) { return target.starts_with("spillway/"); }

// "io" of "src/io/engine.h" and "io/engine.h"; empty where there is no folder.
std::string_view first_folder(std::string_view path) {
  const std::size_t slash = path.find('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

std::string_view room_of(const SourceFile& file) {
  return first_folder(std::string_view(file.path).substr(std::string_view("src/").size()));
}

template <typename... Args>
std::string at_line(const SourceFile& file, int line, fmt::format_string<Args...> text,
                    Args&&... args) {
  return fmt::format("{}:{}: ", file.path, line) + fmt::format(text, std::forward<Args>(args)...);
}

using Paths = std::set<std::string, std::less<>>;

std::optional<std::string> edge_from_room(const SourceFile& file, const Include& include,
                                          const Paths& paths) {
  const std::string_view from = room_of(file);
  if (!rank_of(from)) return at_line(file, include.line, "src/{} is no room of the house", from);
  if (is_public_header(include.target)) return std::nullopt;
  const std::string_view to = first_folder(include.target);
  // Angle brackets are for other people's headers, unless a file of ours hides in them.
  if (!include.quoted && !paths.contains("src/" + include.target)) return std::nullopt;
  if (!rank_of(to))
    return at_line(file, include.line, "\"{}\" names no room: write \"room/file.h\"",
                   include.target);
  if (*rank_of(to) > *rank_of(from))
    return at_line(file, include.line, "{} may not include from {}, which lies further down", from,
                   to);
  return std::nullopt;
}

std::optional<std::string> edge_from_outside(const SourceFile& file, const Include& include,
                                             const Paths& paths) {
  const bool is_header = in_folder(file, "include");
  if (is_public_header(include.target)) return std::nullopt;
  // Nothing but rooms is compiled with the sight of src/, so <sys/file.h> is the system's here.
  if (!include.quoted &&
      (first_folder(include.target) == "sys" || !paths.contains("src/" + include.target)))
    return std::nullopt;
  if (is_header)
    return at_line(file, include.line, "a public header may not include \"{}\"", include.target);
  // A file of their own: from their folder, or from the folder of the file itself.
  const std::string own(first_folder(file.path));
  const std::string beside = file.path.substr(0, file.path.rfind('/') + 1);
  for (const std::string& base : {beside, own + "/", own + "/spillway/"})
    if (include.quoted && paths.contains(base + include.target)) return std::nullopt;
  return at_line(file, include.line, "\"{}\" is neither a public header nor a file of {}/",
                 include.target, own);
}

// The line of the `position`-th character.
int line_at(std::string_view code, std::ptrdiff_t position) {
  return 1 + static_cast<int>(std::count(code.begin(), code.begin() + position, '\n'));
}

void find_in_code(const SourceFile& file, const std::regex& what, std::string_view advice,
                  std::vector<std::string>& found) {
  for (std::sregex_iterator at(file.code.begin(), file.code.end(), what), end; at != end; ++at)
    found.push_back(
        at_line(file, line_at(file.code, at->position()), "`{}` {}", (*at)[1].str(), advice));
}

bool matches_any(std::string_view target, std::initializer_list<std::string_view> prefixes) {
  return std::ranges::any_of(prefixes,
                             [&](std::string_view prefix) { return target.starts_with(prefix); });
}

// For each translation unit of src/, the first header of `library` that it takes in, itself or
// through headers of ours.
std::vector<std::string> units_with(const std::vector<SourceFile>& files,
                                    std::string_view library) {
  std::map<std::string, const SourceFile*> headers;  // by the name they are included by
  for (const SourceFile& file : files) {
    if (in_folder(file, "src")) headers[file.path.substr(4)] = &file;
    if (in_folder(file, "include")) headers[file.path.substr(8)] = &file;
  }
  std::vector<std::string> units;
  for (const SourceFile& unit : files) {
    if (!in_folder(unit, "src") || !unit.path.ends_with(".cpp")) continue;
    std::set<const SourceFile*> seen;
    const std::function<bool(const SourceFile&)> takes = [&](const SourceFile& file) {
      if (!seen.insert(&file).second) return false;
      return std::ranges::any_of(file.includes, [&](const Include& include) {
        if (include.target.starts_with(library)) return true;
        const auto header = headers.find(include.target);
        return header != headers.end() && takes(*header->second);
      });
    };
    if (takes(unit)) units.push_back(unit.path);
  }
  return units;
}

void limit_units(const std::vector<SourceFile>& files, std::string_view library, std::size_t limit,
                 std::vector<std::string>& found) {
  const std::vector<std::string> units = units_with(files, library);
  if (units.size() <= limit) return;
  std::string list;
  for (const std::string& unit : units) list += " " + unit;
  found.push_back(fmt::format("{}:1: <{}...> is compiled in {} translation units, {} allowed:{}",
                              units.back(), library, units.size(), limit, list));
}

}  // namespace

std::vector<std::string> upward_edges(const std::vector<SourceFile>& files) {
  Paths paths;
  for (const SourceFile& file : files) paths.insert(file.path);
  std::vector<std::string> found;
  for (const SourceFile& file : files)
    for (const Include& include : file.includes)
      if (auto edge = in_folder(file, "src") ? edge_from_room(file, include, paths)
                                             : edge_from_outside(file, include, paths))
        found.push_back(*std::move(edge));
  return found;
}

std::vector<std::string> second_doors(const std::vector<SourceFile>& files) {
  // Calls, whether plain, through :: or by address. Members (`memory.lock()`) have other names.
  static const std::regex calls(
      R"((\b(?:mmap|mmap64|munmap|mremap|mlock|mlock2|mlockall|munlock|munlockall|madvise|)"
      R"(mbind|set_mempolicy|statx|dlopen|dlsym|syscall|io_uring_\w+)\s*\(|)"
      R"(&\s*::\s*(?:mmap|mlock|madvise|statx|dlopen|dlsym)\b|)"
      R"(\bstruct\s+(?:io_uring\w*|statx)\b|\b(?:SYS_|__NR_|IORING_|MADV_|STATX_)\w+))");
  std::vector<std::string> found;
  for (const SourceFile& file : files) {
    if (in_folder(file, "src/sys")) continue;
    for (const Include& include : file.includes)
      if (!include.quoted &&
          matches_any(include.target,
                      {"liburing", "linux/io_uring", "sys/mman.h", "dlfcn.h", "sys/syscall.h",
                       "numaif.h", "linux/mempolicy.h", "linux/stat.h", "cuda"}))
        found.push_back(at_line(file, include.line, "<{}> belongs to src/sys", include.target));
    find_in_code(file, calls, "belongs to src/sys", found);
  }
  return found;
}

std::vector<std::string> leaked_libraries(const std::vector<SourceFile>& files) {
  static const std::regex names(R"(\b((?:fmt|spdlog|nlohmann|boost|CLI)\s*::|io_uring_\w+|XXH\w+|)"
                                R"(cuda[A-Z]\w*|CU(?:stream|event|context|deviceptr|result)\w*))");
  std::vector<std::string> found;
  for (const SourceFile& file : files) {
    if (!in_folder(file, "include")) continue;
    for (const Include& include : file.includes)
      if (matches_any(include.target, {"liburing", "linux/io_uring", "boost/", "cuda", "nlohmann/",
                                       "spdlog/", "fmt/", "xxh", "CLI/"}))
        found.push_back(
            at_line(file, include.line, "a public header may not need <{}>", include.target));
    find_in_code(file, names, "may not stand in a public header", found);
  }
  return found;
}

std::vector<std::string> spread_headers(const std::vector<SourceFile>& files) {
  std::vector<std::string> found;
  limit_units(files, "nlohmann/", 3, found);
  limit_units(files, "spdlog/", 1, found);
  for (const SourceFile& file : files) {
    if (in_folder(file, "tools")) continue;
    for (const Include& include : file.includes)
      if (include.target.starts_with("CLI/"))
        found.push_back(at_line(file, include.line, "<{}> belongs to tools/", include.target));
  }
  return found;
}

}  // namespace spillway::house
