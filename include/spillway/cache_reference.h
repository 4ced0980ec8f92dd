#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace spillway {

/// What known policies hit on a whole trace, seen at once: yardsticks for benches and tests, to be
/// held beside ParameterStats::hit_rate(). They move no bytes and know no swapper.
///
/// `trace` are tensors in the order of their accesses, `elements[id]` their sizes, `cap` the size
/// of the cache, all in elements; every id of the trace must be an index of `elements`, every size
/// >= 0. All functions return, for each access, the elements of that tensor that were in memory
/// when it came: its size for a hit, 0 for a miss. All start empty. Overwrites read nothing and so
/// are no accesses. O(n log n) for n accesses. Pure functions: any thread; throw std::bad_alloc.

/// Least recently used. Every miss is admitted, unless it is larger than the whole cache.
std::vector<std::int64_t> lru_hits(std::span<const std::uint32_t> trace,
                                   std::span<const std::int64_t> elements, std::int64_t cap);

/// Furthest next use with admission bypass: Belady's MIN for a cache that may refuse.
///
/// A missed tensor that does not fit displaces those whose next use lies furthest ahead, as many
/// as it needs, but none that is needed before its own next use; if these do not make room
/// enough, it is refused and nothing is displaced. For tensors of one size no policy, on-line or
/// off-line, hits more. For mixed sizes the optimum is NP-hard to find and this is the customary
/// stand-in: a good policy, not a bound.
std::vector<std::int64_t> belady_hits(std::span<const std::uint32_t> trace,
                                      std::span<const std::int64_t> elements, std::int64_t cap);

/// The same for tensors that may be kept in part: no policy that keeps whole tensors hits more.
/// (Each element on its own is a tensor of size one, for which the rule above is optimal, and
/// keeping whole tensors is one of the ways to keep elements.)
std::vector<std::int64_t> fractional_hits(std::span<const std::uint32_t> trace,
                                          std::span<const std::int64_t> elements, std::int64_t cap);

/// Elements hit / elements accessed in accesses [from, to); 0 where nothing was accessed.
double hit_rate(std::span<const std::int64_t> hits, std::span<const std::uint32_t> trace,
                std::span<const std::int64_t> elements, std::size_t from, std::size_t to);

}  // namespace spillway
