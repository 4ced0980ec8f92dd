#include "cache/cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"

namespace spillway::cache {

void Cache::add(TensorId id, std::int64_t elements, bool keep) {
  SPILLWAY_CHECK(elements >= 0, "a tensor has a size");
  if (id >= entries_.size()) entries_.resize(std::size_t{id} + 1);
  Entry& entry = entries_[id];
  SPILLWAY_CHECK(entry.state == State::unknown, "the id is in use");
  entry = {.elements = elements, .state = State::absent, .keep = keep};
}

void Cache::remove(TensorId id) {
  if (resident(id)) drop(id);
  SPILLWAY_CHECK(at(id).state == State::absent, "a tensor that is reserved for is removed");
  at(id).state = State::unknown;
  forecast_.forget(id);
}

void Cache::begin_pass(std::string_view name) {
  forecast_.begin_pass(name);
  reorder_if_needed();
}

void Cache::access(TensorId id) {
  at(id).last_access = ++accesses_;
  forecast_.access(id);
  reorder_if_needed();
  for (const TensorId late : forecast_.overdue())
    if (heap_.contains(late)) heap_.change(late, priority(late));
  if (heap_.contains(id)) heap_.change(id, priority(id));
}

bool Cache::resident(TensorId id) const {
  const State state = at(id).state;
  return state == State::resident || state == State::leaving;
}

bool Cache::pinned(TensorId id) const { return at(id).state == State::resident && at(id).hold > 0; }

void Cache::pin(TensorId id) {
  SPILLWAY_CHECK(resident(id), "only what is resident can be pinned");
  if (at(id).state == State::leaving) release_victims(at(id).hold);
  if (heap_.contains(id)) {
    heap_.erase(id);
    evictable_ -= at(id).elements;
  }
  ++at(id).hold;
}

void Cache::unpin(TensorId id) {
  SPILLWAY_CHECK(pinned(id), "an unpin without its pin");
  --at(id).hold;
  offer(id);
}

// `after`: it is worth its next use from then on.
Verdict Cache::decide(TensorId id, Time after, bool at_any_price) {
  Entry& entry = at(id);
  SPILLWAY_CHECK(entry.state == State::absent, "room is reserved once, for what is not resident");
  const std::uint32_t number = free_reservation();
  Reservation& reservation = reservations_[number];
  const std::int64_t room = cap_ - used_ - claimed_;
  bool enough = false;
  try {
    enough = gather_victims(id, after, at_any_price, room, reservation.victims);
  } catch (...) {
    spare(std::numeric_limits<std::int64_t>::max(), reservation.victims);
    free_reservations_.push_back(number);
    throw;
  }
  if (!enough) {
    free_reservations_.push_back(number);
    return {};
  }
  reservation.tensor = id;
  for (const TensorId victim : reservation.victims) {
    at(victim).state = State::leaving;
    at(victim).hold = number;
    reservation.leaving += at(victim).elements;
  }
  entry.state = State::reserved;
  entry.hold = number;
  update_claim(reservation);
  return {true, reservation.victims};
}

bool Cache::promised(TensorId id) const {
  return at(id).state == State::reserved && !reservations_[at(id).hold].void_;
}

bool Cache::commit(TensorId id) {
  Entry& entry = at(id);
  SPILLWAY_CHECK(entry.state == State::reserved, "a commit without its reservation");
  const std::uint32_t number = entry.hold;
  const Reservation& reservation = reservations_[number];
  SPILLWAY_CHECK(reservation.leaving == 0, "a victim is still in memory");
  if (reservation.void_) {
    cancel(id);
    return false;
  }
  close(number);
  used_ += entry.elements;
  SPILLWAY_CHECK(used_ <= cap_, "the cache exceeds its cap");
  entry.state = State::resident;
  entry.last_access = accesses_;
  entry.hold = 0;
  offer(id);
  return true;
}

void Cache::cancel(TensorId id) {
  SPILLWAY_CHECK(at(id).state == State::reserved, "a cancel without its reservation");
  const std::uint32_t number = at(id).hold;
  release_victims(number);
  close(number);
  at(id).state = State::absent;
  at(id).hold = 0;
  nothing_missing_before_ = std::min(nothing_missing_before_, forecast_.next_use(id));
}

void Cache::drop(TensorId id) {
  Entry& entry = at(id);
  SPILLWAY_CHECK(resident(id) && !pinned(id), "what is dropped is resident, and nobody uses it");
  used_ -= entry.elements;
  if (entry.state == State::leaving) {
    Reservation& reservation = reservations_[entry.hold];
    reservation.leaving -= entry.elements;
    update_claim(reservation);
  } else if (heap_.contains(id)) {
    heap_.erase(id);
    evictable_ -= entry.elements;
  }
  entry.state = State::absent;
  entry.hold = 0;
  nothing_missing_before_ = std::min(nothing_missing_before_, forecast_.next_use(id));
}

std::optional<Use> Cache::next_missing(Time from) {
  // All that lies before `nothing_missing_before_` need not be looked at again.
  const bool from_the_start = from <= nothing_missing_before_;
  if (from_the_start) from = nothing_missing_before_;
  std::optional<Use> use;
  while ((use = forecast_.predicted(from))) {
    if (contains(use->id) && at(use->id).state == State::absent) break;
    from = use->when + 1;
  }
  if (from_the_start) nothing_missing_before_ = from;
  return use;
}

bool Cache::contains(TensorId id) const {
  return id < entries_.size() && entries_[id].state != State::unknown;
}

std::size_t Cache::heap_bytes() const {
  std::size_t sum = entries_.capacity() * sizeof(Entry) + heap_.heap_bytes() +
                    forecast_.heap_bytes() + reservations_.capacity() * sizeof(Reservation) +
                    free_reservations_.capacity() * sizeof(std::uint32_t);
  for (const Reservation& reservation : reservations_)
    sum += reservation.victims.capacity() * sizeof(TensorId);
  return sum;
}

Cache::Entry& Cache::at(TensorId id) {
  SPILLWAY_CHECK(contains(id), "the cache knows no such tensor");
  return entries_[id];
}

const Cache::Entry& Cache::at(TensorId id) const {
  SPILLWAY_CHECK(contains(id), "the cache knows no such tensor");
  return entries_[id];
}

// The top of the heap goes first: the furthest next use, or else the least recent access.
EvictionHeap::Priority Cache::priority(TensorId id) const {
  return forecast_.known() ? forecast_.next_use(id) : ~entries_[id].last_access;
}

bool Cache::evictable(TensorId id) const {
  return at(id).state == State::resident && at(id).hold == 0 && !at(id).keep;
}

void Cache::offer(TensorId id) {
  if (!evictable(id)) return;
  heap_.push(id, priority(id));
  evictable_ += at(id).elements;
}

void Cache::reorder_if_needed() {
  if (generation_ == forecast_.generation()) return;
  generation_ = forecast_.generation();
  nothing_missing_before_ = 0;
  heap_.rebuild([this](TensorId id) { return priority(id); });
}

// Takes victims out of the heap until there is room; false, with the heap as it was, where the
// tensor is not worth it.
bool Cache::gather_victims(TensorId id, Time after, bool at_any_price, std::int64_t room,
                           std::vector<TensorId>& victims) {
  const Entry& entry = at(id);
  if (entry.elements > room + evictable_) return false;
  at_any_price = at_any_price || entry.keep || !forecast_.known();
  const Time next_use = forecast_.next_use(id, after);
  while (room < entry.elements && (at_any_price || heap_.top_priority() > next_use)) {
    const TensorId victim = heap_.top();
    victims.push_back(victim);
    heap_.erase(victim);
    evictable_ -= at(victim).elements;
    room += at(victim).elements;
  }
  const bool enough = room >= entry.elements;
  spare(enough ? room - entry.elements : std::numeric_limits<std::int64_t>::max(), victims);
  return enough;
}

// The last victim may have made room for more than was asked. The nearer its next use, the
// rather is a victim worth sparing.
void Cache::spare(std::int64_t surplus, std::vector<TensorId>& victims) {
  for (std::size_t i = victims.size(); i-- > 0;) {
    const TensorId victim = victims[i];
    if (at(victim).elements > surplus) continue;
    surplus -= at(victim).elements;
    offer(victim);
    victims[i] = no_tensor;
  }
  std::erase(victims, no_tensor);
}

std::uint32_t Cache::free_reservation() {
  if (free_reservations_.empty()) {
    free_reservations_.reserve(reservations_.size() + 1);  // giving it back must not want memory
    reservations_.emplace_back();
    return static_cast<std::uint32_t>(reservations_.size() - 1);
  }
  const std::uint32_t number = free_reservations_.back();
  free_reservations_.pop_back();
  return number;
}

void Cache::update_claim(Reservation& reservation) {
  const std::int64_t claim =
      reservation.void_
          ? 0
          : std::max<std::int64_t>(0, at(reservation.tensor).elements - reservation.leaving);
  claimed_ += claim - std::exchange(reservation.claim, claim);
}

// The reservation cannot be kept any more; what has not left stays.
void Cache::release_victims(std::uint32_t number) {
  Reservation& reservation = reservations_[number];
  reservation.void_ = true;
  reservation.leaving = 0;
  update_claim(reservation);
  for (const TensorId victim : reservation.victims) {
    if (!contains(victim) || at(victim).state != State::leaving || at(victim).hold != number)
      continue;
    at(victim).state = State::resident;
    at(victim).hold = 0;
    offer(victim);
  }
}

void Cache::close(std::uint32_t number) {
  Reservation& reservation = reservations_[number];
  claimed_ -= reservation.claim;
  reservation.tensor = no_tensor;
  reservation.void_ = false;
  reservation.leaving = reservation.claim = 0;
  reservation.victims.clear();
  free_reservations_.push_back(number);
}

}  // namespace spillway::cache
