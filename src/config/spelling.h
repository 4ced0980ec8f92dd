#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace spillway::config {

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
/// string alignment), letters compared without case and '-' as '_'.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, if it is near enough to be what was meant: at most a third of
/// its letters away, and at least one edit is always forgiven.
std::optional<std::string_view> nearest(std::string_view word,
                                        std::span<const std::string_view> candidates);

}  // namespace spillway::config
