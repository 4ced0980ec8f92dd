#pragma once

#include <cstdint>
#include <string_view>

#include "spillway/path_load.h"

namespace spillway::bench {

using Pattern = LoadPattern;
inline constexpr Pattern all_patterns[] = {Pattern::read, Pattern::write, Pattern::mixed};

inline std::string_view name_of(Pattern pattern) {
  switch (pattern) {
    case Pattern::read: return "read";
    case Pattern::write: return "write";
    case Pattern::mixed: return "mixed";
  }
  return "?";
}

/// How much moved in how long.
struct Sample {
  std::int64_t read_bytes = 0, written_bytes = 0;
  double seconds = 0;
  double cpu_seconds = 0;

  double bytes() const { return static_cast<double>(read_bytes + written_bytes); }
  double gb_per_second() const { return bytes() / seconds / 1e9; }
  double cpu_per_gib() const { return cpu_seconds / (bytes() / (1024.0 * 1024 * 1024)); }
};

}  // namespace spillway::bench
