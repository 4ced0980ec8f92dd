#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spillway::sys {

/// A whole file of /proc, /sys or the cgroup tree; empty where it cannot be read.
std::string read_text(const std::string& path);

/// What follows `key` on the first line that starts with it.
std::optional<std::string_view> line_with(std::string_view text, std::string_view key);

/// The decimal number that `text` starts with, after blanks. What is beyond 2^63 (cgroup v1's
/// "no limit", or v2's "max") is nullopt.
std::optional<std::int64_t> leading_number(std::string_view text);

}  // namespace spillway::sys
