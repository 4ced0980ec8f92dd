#include "cache/choice.h"

namespace spillway::cache {
namespace {

bool same_size(const Candidate& a, const Candidate& b) {
  return a.elements == b.elements && a.bytes == b.bytes;
}

}  // namespace

bool choose(std::span<Candidate> candidates, Room room, std::int64_t needed, int steps) noexcept {
  std::int64_t onward = 0;
  for (std::size_t i = candidates.size(); i-- > 0;) {
    onward += candidates[i].bytes;
    candidates[i].onward = onward;
    candidates[i].chosen = false;
  }
  std::size_t next = 0;
  for (; needed > 0 && steps > 0; --steps) {
    if (next < candidates.size() && candidates[next].onward >= needed) {
      Candidate& one = candidates[next++];
      one.chosen = one.elements <= room.elements && one.bytes <= room.bytes;
      if (!one.chosen) continue;
      room.elements -= one.elements;
      room.bytes -= one.bytes;
      needed -= one.bytes;
      continue;
    }
    // Not enough is left on this way: without the last one that was taken, and its like.
    while (next > 0 && !candidates[next - 1].chosen) --next;
    if (next == 0) return false;
    Candidate& last = candidates[next - 1];
    last.chosen = false;
    room.elements += last.elements;
    room.bytes += last.bytes;
    needed += last.bytes;
    while (next < candidates.size() && same_size(candidates[next], last)) ++next;
  }
  return needed <= 0;
}

}  // namespace spillway::cache
