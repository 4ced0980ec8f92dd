#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cache/eviction_heap.h"
#include "cache/forecast.h"
#include "cache/tensor_id.h"

namespace spillway::cache {

/// Whether a tensor should be kept in memory, and which have to go for it.
struct Verdict {
  bool admit = false;
  /// To be dropped before the commit. Valid until the commit or cancel.
  std::span<const TensorId> victims;
};

/// Decides which tensors stay in memory under a cap in elements. It moves no bytes, allocates
/// none for them, and knows no threads: whoever moves them holds a lock around every call.
///
/// While the order of accesses is known, a tensor that was missed displaces those whose next use
/// lies furthest ahead, but only if all of them are needed later than it is: else it is refused
/// and lives outside of the cache while it is used (admission bypass). Without the refusal a loop
/// over mixed sizes hits nothing at all. Three tensors of 3, 1, 1 elements in a cache of 3:
///   a must come in: b, c go.  b must come in: a goes.  c: fits.  a must come in: b, c go.  …
/// never a hit; whereas who refuses a keeps b and c, and hits 2 of 5 elements in every round.
/// While the order is not known the least recently used goes, and what fits the cap is admitted.
///
/// A fetch, under the caller's lock:
///   cache.access(id);
///   if (!cache.resident(id)) {
///     const Verdict verdict = cache.reserve(id);
///     for (TensorId victim : verdict.victims) { free its memory; cache.drop(victim); }
///     if (verdict.admit && cache.commit(id)) { find it memory; start to read into it; }
///   }
///   if (cache.resident(id)) cache.pin(id);           // … cache.unpin(id) when it is released
/// Between reserve and commit the lock may be let go, to write a dirty victim for example: the
/// room is promised, and nobody else is given these victims. If one of them is used meanwhile it
/// stays, and the commit says no. Whoever cannot wait cancels, and nothing has changed.
/// A tensor whose bytes are still being read is committed and pinned; if the read fails, it is
/// unpinned and dropped.
///
/// Invariant: used() <= cap(), always, to the element.
/// Cost: O(log n) per access, eviction, pin and unpin; begin_pass is O(1) where the pass is the
/// one expected and at most three names take turns, and O(residents) otherwise; a refusal costs
/// O(log n) for each tensor that might have gone but would not have sufficed. About 60 bytes per
/// tensor for a pass that uses each twice. No allocation once the tables have grown.
class Cache {
 public:
  /// `cap` [elements] >= 0.
  explicit Cache(std::int64_t cap) : cap_(cap) {}

  /// A tensor that the cache may hold; `keep`: once in, it is never a victim, and it may displace
  /// whatever may go. Requires: the id is not in use; elements >= 0.
  void add(TensorId id, std::int64_t elements, bool keep = false);
  /// Requires: neither pinned nor reserved for. Drops it if it is resident.
  void remove(TensorId id);

  /// The order of accesses: see Forecast. Each read or update of a tensor is one access, hit or
  /// miss, the tensors of a unit one after another; overwrites are none.
  void begin_pass(std::string_view name);
  void access(TensorId id);

  /// A step has overwritten so many elements of some tensor.
  void overwritten(std::int64_t elements) { forecast_.overwritten(elements); }

  /// Whether its elements are charged to the cap. Victims are, until they are dropped.
  bool resident(TensorId id) const;
  /// No victim until as many unpins; a victim that is pinned ends the reservation it was for.
  /// Requires: resident.
  void pin(TensorId id);
  void unpin(TensorId id);
  bool pinned(TensorId id) const;

  /// Decides about a tensor that is not resident, for the access just reported. If it is
  /// admitted: drop the victims, then commit or cancel.
  Verdict reserve(TensorId id) { return decide(id, 0, false); }
  /// The same for one that must come in, whatever that is worth: refused only where too much is
  /// pinned or kept.
  Verdict reserve_at_any_price(TensorId id) { return decide(id, 0, true); }
  /// The same for an access to come at `when` (from next_missing). It is admitted only if it is
  /// worth keeping also after that use: a tensor read ahead that will be refused then must not
  /// displace anything now. So what is refused here is read ahead into memory of the caller's.
  Verdict reserve_ahead(TensorId id, Time when) { return decide(id, when + 1, false); }
  /// Whether the room reserved for it is still promised: ask before dropping a victim that had to
  /// be written first.
  bool promised(TensorId id) const;
  /// The tensor is resident. False if there is no room, since a victim was pinned: the
  /// reservation is gone. Requires: reserved, and its other victims dropped.
  bool commit(TensorId id);
  /// The victims that were not dropped stay. Requires: reserved.
  void cancel(TensorId id);
  /// Its bytes have left memory. Requires: resident, not pinned.
  void drop(TensorId id);

  /// The first predicted access at or after `from` of a tensor that is neither resident nor
  /// reserved for: what to read ahead; nullopt where nothing is predicted. Go on with
  /// `from = use.when + 1`; start again at 0 when generation() has changed.
  std::optional<Use> next_missing(Time from);
  std::uint64_t generation() const { return forecast_.generation(); }
  const Forecast& forecast() const { return forecast_; }

  std::int64_t cap() const { return cap_; }
  std::int64_t used() const { return used_; }
  /// [elements] that reserve_at_any_price would find: free, or of what may go.
  std::int64_t available() const { return cap_ - used_ - claimed_ + evictable_; }
  /// What would go first; nullopt where nothing may.
  std::optional<TensorId> least_useful() const {
    return heap_.empty() ? std::nullopt : std::optional(heap_.top());
  }
  std::int64_t elements(TensorId id) const { return entries_[id].elements; }
  bool contains(TensorId id) const;
  std::size_t heap_bytes() const;

 private:
  enum class State : std::uint8_t {
    unknown,   // no such tensor
    absent,    // bytes not in memory
    reserved,  // promised room
    resident,
    leaving  // resident, promised to a reservation
  };
  struct Entry {
    std::int64_t elements = 0;
    std::uint64_t last_access = 0;  // [accesses]
    std::uint32_t hold = 0;         // resident: pins; reserved, leaving: its reservation
    State state = State::unknown;
    bool keep = false;
  };
  // Its victims' elements count until they are dropped; what they do not cover is claimed from
  // free room. Records are used again, so that their lists need not grow again.
  struct Reservation {
    TensorId tensor = no_tensor;
    bool void_ = false;
    std::int64_t leaving = 0, claim = 0;  // [elements]
    std::vector<TensorId> victims;
  };

  Entry& at(TensorId id);
  const Entry& at(TensorId id) const;
  EvictionHeap::Priority priority(TensorId id) const;
  bool evictable(TensorId id) const;
  void offer(TensorId id);
  void reorder_if_needed();
  Verdict decide(TensorId id, Time after, bool at_any_price);
  bool gather_victims(TensorId id, Time after, bool at_any_price, std::int64_t room,
                      std::vector<TensorId>& victims);
  void spare(std::int64_t surplus, std::vector<TensorId>& victims);
  std::uint32_t free_reservation();
  void update_claim(Reservation& reservation);
  void release_victims(std::uint32_t number);
  void close(std::uint32_t number);

  const std::int64_t cap_;
  std::int64_t used_ = 0;
  std::int64_t claimed_ = 0;    // by reservations, from free room
  std::int64_t evictable_ = 0;  // [elements] in the heap

  std::vector<Entry> entries_;
  EvictionHeap heap_;  // resident, neither pinned, kept nor leaving
  std::vector<Reservation> reservations_;
  std::vector<std::uint32_t> free_reservations_;

  Forecast forecast_;
  std::uint64_t generation_ = 0;  // that the heap's priorities are of
  std::uint64_t accesses_ = 0;
  Time nothing_missing_before_ = 0;
};

}  // namespace spillway::cache
