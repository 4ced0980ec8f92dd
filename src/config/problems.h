#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spillway::config {

/// Everything that is wrong with one configuration, collected so that it can be told at once.
/// Not thread-safe.
class Problems {
 public:
  /// `path` is where it stands ("zero_optimization.offload_param.device"), empty for the whole;
  /// `text` reads on from it ("must be ...").
  void add(std::string path, std::string text);

  /// Notes that `path` is missing or unread only because of a problem already told (a misspelt
  /// key): rules that build on its value would mislead.
  void suspect(std::string path) { suspects_.push_back(std::move(path)); }

  /// True if `path` or something below it has a problem or is suspected.
  bool about(std::string_view path) const;

  bool empty() const { return entries_.empty(); }

  /// Throws Error invalid_config if there are any: a first line with `name` and their number, then
  /// one line for each.
  void throw_if_any(std::string_view name) const;

 private:
  struct Entry {
    std::string path, text;
  };
  std::vector<Entry> entries_;
  std::vector<std::string> suspects_;
};

}  // namespace spillway::config
