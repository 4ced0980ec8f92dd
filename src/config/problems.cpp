#include "config/problems.h"

#include <fmt/core.h>

#include <algorithm>

#include "spillway/error.h"

namespace spillway::config {
namespace {

// A file of another kind could hold thousands of unknown keys; nobody reads on after these.
constexpr std::size_t most_told = 100;

bool at_or_below(std::string_view path, std::string_view of) {
  if (!path.starts_with(of)) return false;
  return path.size() == of.size() || path[of.size()] == '.' || path[of.size()] == '[';
}

}  // namespace

void Problems::add(std::string path, std::string text) {
  entries_.push_back({std::move(path), std::move(text)});
}

bool Problems::about(std::string_view path) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return at_or_below(entry.path, path); }) ||
         std::any_of(suspects_.begin(), suspects_.end(),
                     [&](const std::string& suspect) { return at_or_below(suspect, path); });
}

void Problems::throw_if_any(std::string_view name) const {
  if (entries_.empty()) return;
  std::string text =
      fmt::format("{}: {} problem{}", name, entries_.size(), entries_.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < std::min(entries_.size(), most_told); ++i) {
    const Entry& entry = entries_[i];
    text += entry.path.empty() ? "\n  " + entry.text
                               : fmt::format("\n  {}: {}", entry.path, entry.text);
  }
  if (entries_.size() > most_told)
    text += fmt::format("\n  and {} more", entries_.size() - most_told);
  throw Error(Errc::invalid_config, text);
}

}  // namespace spillway::config
