// A fetch of more than the pool can hold: the cache takes what is too much, whatever else it has.

#include <algorithm>

#include "swap/parameters.h"

namespace spillway::swap {

// [bytes] that the cache does not hold, where that is more than the pool can; else 0.
std::int64_t Parameters::too_large_for_pool(const Request& request) const {
  const Hold& hold = *request.hold;
  if (!request.whole || hold.access != Access::read || pool_ == nullptr) return 0;
  std::int64_t missing = 0;
  for (const Part& part : hold.parts)
    if (part.shared == nullptr) missing += footprint(*part.tensor, part.blocks);
  return missing > pool_->budget_bytes() ? missing : 0;
}

// In turn: of two such fetches each might wait for what the other has.
Parameters::Step Parameters::relieve_pool(Request& request, std::int64_t missing) {
  Hold& hold = *request.hold;
  const bool possible = choose_for_cache(hold, true);
  if (!possible && (alone(request) || !choose_for_cache(hold, false)))
    throw_does_not_fit(request, missing);
  if (!possible || !mine(request)) return Step::memory;
  for (const Part& part : hold.parts) {
    if (!part.must || part.shared != nullptr) continue;
    Copy* const newest = covering(part);
    if (newest == nullptr || !newest->newer()) continue;
    if (newest->failed) retry_or_throw(request, *newest);
    return Step::io;  // the cache reads it from the store
  }
  return admit_chosen(request, missing);
}

// Marks what the cache must have for the pool to hold the rest; what it has is preferred, and then
// what is large. `now`: beside what others use at present; else beside nothing. What others use of
// the unit's own stays where it is.
bool Parameters::choose_for_cache(Hold& hold, bool now) {
  std::int64_t needed = -pool_->budget_bytes();
  std::int64_t held = 0;  // [elements] that count as used, and could go
  candidates_.clear();
  for (std::size_t i = 0; i < hold.parts.size(); ++i) {
    Part& part = hold.parts[i];
    part.must = false;
    if (part.blocks.empty()) continue;
    const bool cached = part.shared != nullptr;
    if (now && cached && !part.shared->used_once()) continue;
    if (cached) held += part.tensor->elements;
    const std::int64_t bytes = footprint(*part.tensor, part.blocks);
    needed += bytes;
    candidates_.push_back({.index = i, .elements = part.tensor->elements, .bytes = bytes});
  }
  const auto cached = [&hold](const cache::Candidate& one) {
    return hold.parts[one.index].shared != nullptr;
  };
  std::sort(candidates_.begin(), candidates_.end(),
            [&cached](const cache::Candidate& a, const cache::Candidate& b) {
              if (cached(a) != cached(b)) return cached(a);
              if (a.bytes != b.bytes) return a.bytes > b.bytes;
              if (a.elements != b.elements) return a.elements < b.elements;
              return a.index < b.index;
            });
  const cache::Room room = {.elements = now ? cache_.available() + held : cache_.cap(),
                            .bytes = arena_.total_bytes()};
  if (!cache::choose(candidates_, room, needed)) return false;
  for (const cache::Candidate& one : candidates_) hold.parts[one.index].must = one.chosen;
  return true;
}

// Until all of it has its place, what was not chosen may go as well.
Parameters::Step Parameters::admit_chosen(Request& request, std::int64_t missing) {
  Hold& hold = *request.hold;
  PlacesFirst places(*this, hold);
  for (Part& part : hold.parts)
    if (!part.must && part.shared != nullptr && part.shared->used_once()) {
      part.shared->movable = false;
      unuse(*std::exchange(part.shared, nullptr));
    }
  for (Part& part : hold.parts) {
    if (!part.must || part.shared != nullptr) continue;
    switch (admit(*part.tensor, 0, Price::any)) {
      case Admission::refused:
        if (alone(request)) throw_does_not_fit(request, missing);
        return Step::memory;
      case Admission::cleaning: return Step::memory;
      case Admission::in: break;
    }
    places.admitted(part);
  }
  for (Part& part : hold.parts) {  // what need not have gone serves where it is
    if (part.shared == nullptr && part.tensor->cached != nullptr) share_cached(part);
  }
  return Step::taken;
}

// Nobody else has or moves anything, but for those that wait behind it and have nothing (the front
// of the queue keeps what it has found in the cache): what is not possible now never will be.
bool Parameters::alone(const Request& request) const {
  if (!mine(request)) return false;
  const auto waiting = std::ssize(queue_) + (request.ticket == 0 ? 1 : 0);
  return holds_out_ == waiting && trips_under_way_ == 0 && failed_copy() == nullptr;
}

}  // namespace spillway::swap
