#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace spillway::cache {

/// One tensor that may be kept.
struct Candidate {
  std::size_t index = 0;      // the caller's own
  std::int64_t elements = 0;  // >= 0
  std::int64_t bytes = 0;     // that it takes in memory, >= 0
  bool chosen = false;        // out
  std::int64_t onward = 0;    // scratch: bytes of this one and of all behind it
};

/// What those that are kept may take together.
struct Room {
  std::int64_t elements = 0;
  std::int64_t bytes = 0;
};

/// As many steps of the search as take some hundred microseconds.
constexpr int choice_steps = 100'000;

/// Chooses candidates that fit `room` and are at least `needed` bytes together; those that come
/// first are preferred. Depth first with the first choice taken wherever it fits, so that the
/// first attempt is the greedy one; candidates of the same size that follow each other count as
/// one kind. False: there is no such choice, or (the problem is subset sum) none was found in
/// `steps`. No allocation.
bool choose(std::span<Candidate> candidates, Room room, std::int64_t needed,
            int steps = choice_steps) noexcept;

}  // namespace spillway::cache
