#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace spillway::demo {

/// A run of elements of one tensor, small enough to be one thread's turn.
struct Piece {
  std::size_t tensor = 0;
  std::int64_t first = 0;  ///< [elements] from the start of the tensor
  std::int64_t count = 0;
  std::int64_t at = 0;  ///< [elements] from the start of the caller's own array or slice
};

/// Some 20 microseconds of AdamW; a multiple of 4096, so that threads meet on page boundaries.
inline constexpr std::int64_t piece_elements = 32768;

/// Appends elements [first, first + count) of `tensor`, whose first one stands at `at`.
inline void cut(std::size_t tensor, std::int64_t first, std::int64_t count, std::int64_t at,
                std::vector<Piece>& pieces) {
  for (std::int64_t done = 0; done < count; done += piece_elements)
    pieces.push_back({tensor, first + done, std::min(piece_elements, count - done), at + done});
}

}  // namespace spillway::demo
