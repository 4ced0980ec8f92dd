// A fetch: wait until all of it can be had, take it, read what is missing.

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>

#include "base/byte_size.h"
#include "base/check.h"
#include "base/log.h"
#include "base/throw.h"
#include "swap/parameters.h"

namespace spillway::swap {

// ---- holds

Hold* Parameters::new_hold(Access access) {
  if (free_holds_ == nullptr) {
    holds_.push_back(std::make_unique<Hold>());
    free_holds_ = holds_.back().get();
    free_holds_->owner = this;
  }
  Hold* const hold = free_holds_;
  free_holds_ = hold->next;
  hold->next = nullptr;
  hold->access = access;
  ++holds_out_;
  return hold;
}

void Parameters::free_hold(Hold& hold) noexcept {
  hold.parts.clear();
  hold.views.clear();
  hold.next = free_holds_;
  free_holds_ = &hold;
  --holds_out_;
}

// Requires that the parts have room: they are linked by address.
void Parameters::add_part(Hold& hold, Tensor& tensor, const Range& range) {
  Part part;
  part.hold = &hold;
  part.tensor = &tensor;
  part.offset = range.offset;
  part.count = range.count;
  if (range.count > 0) part.blocks = {range.offset / block_, blocks_of(range.offset + range.count)};
  part.exclusive = hold.access != Access::read;
  hold.parts.push_back(part);
}

std::string Parameters::what(const Request& request) const {
  const std::vector<Part>& parts = request.hold->parts;
  if (parts.empty()) return "an empty unit";
  const Part& first = parts.front();
  if (parts.size() == 1)
    return request.whole ? fmt::format("parameter \"{}\"", first.tensor->name)
                         : fmt::format("parameter \"{}\" [{}, {})", first.tensor->name,
                                       first.offset, first.offset + first.count);
  return fmt::format("unit \"{}\" ({} parameters)",
                     units_[static_cast<std::size_t>(first.tensor->unit)].name, parts.size());
}

// ---- the calls

// What was added has its place, and nothing is added without one as long as this is held.
Parameters::Lock Parameters::lock_sealed(Sealed enough) {
  for (;;) {
    seal(enough);
    poll_fences();
    Lock lock(mutex_);
    if (sealed_.load(std::memory_order_acquire) >= enough) return lock;
  }
}

Parameters::Sealed Parameters::needed_for(Access access) {
  return access == Access::overwrite ? Sealed::without_cache : Sealed::all;
}

Lease Parameters::fetch(ParamId id, Access access, Range range) {
  Lock lock = lock_sealed(needed_for(access));
  Request request = request_for(id, access, range);
  return fetch(lock, request);
}

Parameters::Request Parameters::request_for(ParamId id, Access access, Range range) {
  Tensor& one = tensor(id);
  check_range(one, range);
  Request request;
  request.whole = range.count == one.elements;
  request.hold = new_hold(access);
  try {
    request.hold->parts.reserve(1);
    add_part(*request.hold, one, range);
  } catch (...) {
    free_hold(*request.hold);
    throw;
  }
  return request;
}

Lease Parameters::fetch(UnitId id, Access access) {
  Lock lock = lock_sealed(needed_for(access));
  Request request;
  request.whole = true;
  request.hold = unit_hold(id, access);
  return fetch(lock, request);
}

Hold* Parameters::unit_hold(UnitId id, Access access) {
  const Unit& wanted = unit(id);
  Hold* const hold = new_hold(access);
  try {
    hold->parts.reserve(wanted.tensors.size());
    for (const std::uint32_t index : wanted.tensors)
      if (Tensor& member = tensors_[index]; member.live)
        add_part(*hold, member, {0, member.elements});
  } catch (...) {
    free_hold(*hold);
    throw;
  }
  return hold;
}

Lease Parameters::fetch(Lock& lock, Request& request) {
  try {
    do {
      for (;;) {
        const Step step = attempt(request);
        if (step == Step::taken) break;
        wait_for(lock, request, step);
      }
      leave_queue(request);
    } while (!filled(lock, request));
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    leave_queue(request);
    undo(*request.hold);
    run_ahead();
    moved_.notify_all();
    throw;
  }
  run_ahead();
  return Lease(request.hold);
}

// False: a read that failed had been begun ahead or for somebody else, perhaps when the disk was
// ill. It is done again, once, for this fetch.
bool Parameters::filled(Lock& lock, Request& request) {
  try {
    fill(lock, request);
    return true;
  } catch (const Error& error) {
    if (!lock.owns_lock()) lock.lock();
    if (!request.joined || request.again || error.code() == Errc::timeout) throw;
    request.again = true;
    let_go(*request.hold);
    moved_.notify_all();
    return false;
  }
}

std::optional<Lease> Parameters::try_fetch(UnitId id) {
  Lock lock = lock_sealed();
  Request request;
  request.whole = true;
  request.hold = unit_hold(id, Access::read);
  return try_take(lock, request);
}

std::optional<Lease> Parameters::try_fetch(ParamId id, Range range) {
  Lock lock = lock_sealed();
  Request request = request_for(id, Access::read, range);
  return try_take(lock, request);
}

std::optional<Lease> Parameters::try_take(Lock& lock, Request& request) {
  for (const Part& part : request.hold->parts) {
    const Copy* copy = nullptr;
    bool here = !conflicts(part, Access::read);
    if (here && volume_ != nullptr && !part.blocks.empty()) {
      copy = part.tensor->cached != nullptr ? part.tensor->cached : covering(part);
      here = copy != nullptr && copy->late == nullptr && !copy->coming() && !copy->checking &&
             !copy->read_failed();
    }
    if (!here) {
      free_hold(*request.hold);
      return std::nullopt;
    }
  }
  return fetch(lock, request);  // finds all of it, and waits for nothing
}

// ---- what stands in the way

bool Parameters::conflicts(const Part& part, Access access) const {
  for (const Part* other = part.tensor->parts; other != nullptr; other = other->next)
    if ((other->exclusive || access != Access::read) && other->blocks.meets(part.blocks))
      return true;
  return false;
}

// Somebody compares a copy with seals that would change.
bool Parameters::being_compared(const Part& part) const {
  for (const Copy* copy = part.tensor->copies; copy != nullptr; copy = copy->next)
    if (copy->checking && copy->blocks.meets(part.blocks)) return true;
  return false;
}

// A copy in the pool that has all of the blocks, newer ones first.
Copy* Parameters::covering(const Part& part) const {
  Copy* found = nullptr;
  for (Copy* copy = part.tensor->copies; copy != nullptr; copy = copy->next) {
    if (copy->gone || copy->read_failed() || !copy->blocks.covers(part.blocks)) continue;
    if (copy->newer()) return copy;
    found = copy;
  }
  return found;
}

// Some of the blocks are newer in a buffer than in the store, and no copy has all of them: the
// writing must end first. Throws what stands in its way for good.
bool Parameters::must_wait_for_write(Request& request) {
  for (const Part& part : request.hold->parts) {
    bool wait = false;
    for (Copy* copy = part.tensor->copies; copy != nullptr; copy = copy->next) {
      if (copy->gone || !copy->blocks.meets(part.blocks)) continue;
      if (!copy->newer()) continue;
      // Readers can use one that has it all; who changes all of it supersedes it.
      if (part.exclusive ? part.blocks.covers(copy->blocks) &&
                               (!needs_old(part) || copy->blocks.covers(part.blocks))
                         : copy->blocks.covers(part.blocks))
        continue;
      if (copy->failed) retry_or_throw(request, *copy);
      wait = true;
    }
    if (wait) return true;
  }
  return false;
}

// ---- one attempt

// Everything at once, or nothing but the use of cached copies, which costs nobody a buffer.
Parameters::Step Parameters::attempt(Request& request) {
  Hold& hold = *request.hold;
  const bool moves = volume_ != nullptr;
  if (!request.counted) {
    request.counted = true;
    if (moves && request.whole && hold.access != Access::overwrite)
      for (const Part& part : hold.parts)
        if (part.tensor->elements > 0) cache_.access(part.tensor->id);
  }
  for (const Part& part : hold.parts) {
    if (!part.tensor->live)
      throw_error(Errc::invalid_argument,
                  "\"{}\": parameter \"{}\" was removed while it was waited "
                  "for",
                  options_.name, part.tensor->name);
    if (conflicts(part, hold.access)) return Step::lease;
    if (part.exclusive && being_compared(part)) return Step::io;
  }
  if (!moves) return claim(request);
  if (must_wait_for_write(request)) return Step::io;
  // What is cached is in use before room is made for the rest, which would take it else.
  for (Part& part : hold.parts) {
    const Tensor& tensor = *part.tensor;
    if (part.blocks.empty()) continue;
    if (part.shared != nullptr) {  // since an earlier attempt
      if (part.shared->late != nullptr) return Step::io;
      if (!part.shared->read_failed()) continue;
      unuse(*std::exchange(part.shared, nullptr));  // could not be read
    }
    if (tensor.cached == nullptr) continue;
    const Copy& cached = *tensor.cached;
    if (cached.read_failed()) return Step::io;  // until it is gone
    if (cached.late != nullptr) return Step::io;
    // What an overwrite finds on its way need not have been read well.
    if (hold.access == Access::overwrite && cached.coming()) return Step::io;
    request.joined = request.joined || cached.coming();
    share_cached(part);
  }
  const std::int64_t missing = too_large_for_pool(request);
  if (missing > 0) {
    const Step step = relieve_pool(request, missing);
    if (step != Step::taken) return step;
  } else if (request.whole && hold.access != Access::overwrite) {
    const Step step = admit_missing(request);
    if (step != Step::taken) return step;
  }
  return claim(request);
}

// Offers what is missing to the cache.
Parameters::Step Parameters::admit_missing(Request& request) {
  if (cleaning(request)) return Step::memory;
  Hold& hold = *request.hold;
  PlacesFirst places(*this, hold);
  for (Part& part : hold.parts) {
    if (part.blocks.empty() || part.shared != nullptr || part.refused || covering(part) != nullptr)
      continue;
    switch (admit(*part.tensor, 0)) {
      case Admission::refused: part.refused = true; break;
      case Admission::cleaning:
        for (const Copy* victim : victims_) request.cleaned.push_back(victim->tensor);
        return Step::memory;
      case Admission::in: places.admitted(part); break;
    }
  }
  return Step::taken;
}

// What is being written cannot go, and in its place would what is used sooner, if it is clean.
bool Parameters::cleaning(Request& request) noexcept {
  std::erase_if(request.cleaned, [](const Tensor* tensor) {
    return tensor->cached == nullptr || !(tensor->cached->writing || tensor->cached->queued);
  });
  return !request.cleaned.empty();
}

Parameters::PlacesFirst::PlacesFirst(Parameters& owner, Hold& hold) noexcept
    : owner_(owner), hold_(hold) {
  for (Part& part : hold.parts)
    if (part.shared != nullptr && part.shared->used_once()) part.shared->movable = true;
}

Parameters::PlacesFirst::~PlacesFirst() {
  for (Part& part : hold_.parts) {
    if (part.shared != nullptr) part.shared->movable = false;
    if (std::exchange(part.unread, false))
      owner_.start_reads(std::span(&part.shared, 1), io::Service::demand);
  }
}

void Parameters::PlacesFirst::admitted(Part& part) noexcept {
  owner_.share_cached(part);
  part.shared->movable = part.unread = true;
}

void Parameters::share_cached(Part& part) noexcept {
  part.shared = part.tensor->cached;
  use(*part.shared);
}

// So that nobody who waits keeps others waiting, but for the front of the queue. What is still here
// next time is found again.
void Parameters::let_cached_go(Hold& hold) noexcept {
  for (Part& part : hold.parts)
    if (part.shared != nullptr) unuse(*std::exchange(part.shared, nullptr));
}

// Whether the lease needs what its blocks held before.
bool Parameters::needs_old(const Part& part) const {
  return part.hold->access != Access::overwrite ||
         edges(part) != std::array<std::int64_t, 2>{-1, -1};
}

// The copy in the pool that serves a part, used from now on.
void Parameters::find_in_pool(Part& part, bool newer_only) {
  part.takes_over = false;
  if (part.blocks.empty() || part.shared != nullptr || volume_ == nullptr) return;
  Copy* const found = covering(part);
  if (found == nullptr) return;
  const bool clean = !found->newer();
  if (clean && newer_only) return;
  // A clean one of just these blocks can become the lease's own, unless others that lie in the same
  // run of the pool would keep that for as long.
  part.takes_over = part.exclusive && clean && found->blocks == part.blocks &&
                    found->run->members.size() <= part.hold->parts.size();
  if (part.exclusive && !needs_old(part) && !(part.takes_over && found->users == 0)) {
    part.takes_over = false;
    return;
  }
  use(*found);
  part.found = found;
}

void Parameters::forget_found(Hold& hold) noexcept {
  for (Part& part : hold.parts)
    if (part.found != nullptr) unuse(*std::exchange(part.found, nullptr));
}

// The pool's part of it. Copies there that serve are used first, so that they are not what has to
// go for the rest.
Parameters::Step Parameters::claim(Request& request) {
  const Step step = claim(request, false);
  // What is here may stand in the way of what is not: then all of it is read.
  return step == Step::memory && volume_ != nullptr && mine(request) ? claim(request, true) : step;
}

Parameters::Step Parameters::claim(Request& request, bool newer_only) {
  Hold& hold = *request.hold;
  std::int64_t total = 0;
  bool wait_for_read = false;
  places_.clear();
  for (Part& part : hold.parts) {
    places_.emplace_back();
    find_in_pool(part, newer_only);
    if (part.blocks.empty()) continue;
    if (!part.exclusive) {
      if (part.tensor->home != nullptr || part.shared != nullptr || part.found != nullptr) continue;
    } else if (part.found != nullptr && part.takes_over) {
      wait_for_read = wait_for_read || part.found->users > 1;  // until nobody else looks at it
      continue;
    }
    places_.back().at = total;
    total += footprint(*part.tensor, part.blocks);
  }
  bool room = total == 0;
  try {
    if (!wait_for_read && total > 0) {
      if (volume_ == nullptr) ensure_pool();
      if (pool_ == nullptr || total > pool_->budget_bytes()) throw_does_not_fit(request, total);
      if (mine(request)) {
        spare_copies(hold.parts.size());
        reads_.reserve(hold.parts.size());
        room = take_room(hold, total);
      }
    }
  } catch (...) {
    give_places();
    forget_found(hold);
    throw;
  }
  if (wait_for_read || !room) {
    forget_found(hold);
    return wait_for_read ? Step::io : Step::memory;
  }
  take(request);
  return Step::taken;
}

void Parameters::throw_does_not_fit(const Request& request, std::int64_t total) const {
  // Enough, too, when the cache keeps none of it.
  std::int64_t whole = 0;
  for (const Part& part : request.hold->parts) whole += footprint(*part.tensor, part.blocks);
  const auto at_least = [whole](std::int64_t by) {
    return by <= 0 ? whole : (whole + by - 1) / by;
  };
  throw_error(Errc::does_not_fit,
              "\"{}\": {} needs {} ({} bytes) of pinned buffers at once, and "
              "offload_param.buffer_count x buffer_size is {} x {} = {} bytes: raise buffer_count "
              "to {} or buffer_size to {} at least",
              options_.name, what(request), format_bytes(total), total, offload_.buffer_count,
              offload_.buffer_size, pool_budget(), at_least(offload_.buffer_size),
              at_least(offload_.buffer_count));
}

// Nothing stands in the way any more: links the parts, makes the copies, starts the reads.
void Parameters::take(Request& request) noexcept {
  Hold& hold = *request.hold;
  reads_.clear();
  for (std::size_t i = 0; i < hold.parts.size(); ++i) {
    Part& part = hold.parts[i];
    Tensor& tensor = *part.tensor;
    part.next = tensor.parts;
    tensor.parts = &part;
    part.linked = true;
    if (part.blocks.empty()) continue;
    if (part.shared != nullptr) end_ahead(*part.shared);
    if (part.found != nullptr) {
      request.joined = request.joined || part.found->coming();
      end_ahead(*part.found);
      part.found->run->last_use = ++uses_;
      part.found->run->wanted = false;
    }
    if (!part.exclusive) {
      if (tensor.home != nullptr || part.shared != nullptr) continue;
      part.shared = std::exchange(part.found, nullptr);
      if (part.shared == nullptr) {
        part.shared = new_copy(tensor, part.blocks, data_at(places_[i]), places_[i].run);
        link(*part.shared);
        use(*part.shared);
        reads_.push_back(part.shared);
      }
      continue;
    }
    if (part.found != nullptr && part.takes_over) {
      part.own = std::exchange(part.found, nullptr);
      unlink(*part.own);
    } else {
      if (part.found != nullptr) part.shared = std::exchange(part.found, nullptr);
      part.own = new_copy(tensor, part.blocks, data_at(places_[i]), places_[i].run);
      use(*part.own);
      if (volume_ != nullptr && part.shared == nullptr) {
        if (hold.access == Access::update)
          reads_.push_back(part.own);
        else
          read_edges(part);
      }
    }
    supersede_clean(part);
  }
  for (const Place& place : places_)
    if (place.run != nullptr) place.run->last_use = ++uses_;
  if (!reads_.empty()) start_reads(reads_, io::Service::demand);
  if (request.again) return;
  ++stats_.fetches;
  if (hold.access != Access::overwrite)
    for (const Part& part : hold.parts)
      stats_.bytes_fetched += footprint(*part.tensor, part.blocks);
}

// Some blocks of a copy are going to be old: it keeps what lies behind them, else what lies before.
// So a tensor that is changed piece by piece is read once. False: nothing is left, or it is in use
// (by more than `users`), or has something to be written.
bool Parameters::keep_rest(Copy& copy, const Blocks& old, int users) noexcept {
  if (copy.users > users || copy.coming() || copy.error || copy.newer()) return false;
  if (old.last < copy.blocks.last) {
    copy.data = at(copy, old.last);
    copy.blocks.first = old.last;
  } else if (copy.blocks.first < old.first) {
    copy.blocks.last = old.first;
  } else {
    return false;
  }
  count_ahead(copy);
  return true;
}

// What others have read of these blocks is about to be old.
void Parameters::supersede_clean(const Part& part) noexcept {
  for (Copy *copy = part.tensor->copies, *next = nullptr; copy != nullptr; copy = next) {
    next = copy->next;
    if (copy == part.shared || !copy->blocks.meets(part.blocks) || copy->newer() ||
        keep_rest(*copy, part.blocks, 0))
      continue;
    copy->gone = true;
    if (copy->users == 0) free_copy(*copy);
  }
}

// The blocks that an overwrite changes in part; -1: none.
std::array<std::int64_t, 2> Parameters::edges(const Part& part) const {
  const std::int64_t end = part.offset + part.count;
  const bool first = part.offset % block_ != 0;
  const bool last =
      end % block_ != 0 && end != part.tensor->elements && !(first && part.blocks.count() == 1);
  return {first ? part.blocks.first : -1, last ? part.blocks.last - 1 : -1};
}

// An overwrite reads nothing, but for these.
void Parameters::read_edges(const Part& part) noexcept {
  for (const std::int64_t edge : edges(part))
    if (edge >= 0) start_read(*part.own, {edge, edge + 1}, io::Service::demand);
}

// ---- after the taking: reads, checks, copies. Only I/O is waited for.

void Parameters::fill(Lock& lock, Request& request) {
  Hold& hold = *request.hold;
  for (Part& part : hold.parts)
    for (Copy* copy : {part.shared, part.own})
      if (copy != nullptr) await(lock, request, *copy);
  for (Part& part : hold.parts) {
    const bool old = needs_old(part);
    // What is overwritten whole may have been wrong.
    if (part.shared != nullptr && (old || part.shared->blocks != part.blocks))
      make_checked(lock, request, *part.shared, part.blocks);
    if (request.whole && !part.exclusive) move_in(lock, part);
    if (part.own == nullptr || !old) continue;
    if (part.shared == nullptr && part.tensor->home == nullptr) {
      if (!part.own->checked) check_own(lock, part);
      continue;
    }
    const std::byte* const from =
        part.shared != nullptr ? at(*part.shared, part.blocks.first)
                               : part.tensor->home + part.blocks.first * block_bytes(*part.tensor);
    const auto size = static_cast<std::size_t>(bytes(*part.tensor, part.blocks));
    lock.unlock();  // the part is exclusive and the copy used: both stay as they are
    std::memcpy(part.own->data, from, size);
    lock.lock();
    if (part.shared != nullptr && part.shared->run != nullptr) let_source_go(part);
  }
  build_views(hold);
}

// What was copied from is about to be old: the lease holds no more of the pool than what it
// changes.
void Parameters::let_source_go(Part& part) noexcept {
  unuse(*std::exchange(part.shared, nullptr));
  supersede_clean(part);
  moved_.notify_all();
}

// As long as no order is known, what a fetch finds in a buffer of the pool enters the cache by a
// copy. Else a first pass over what has just been written would leave the cache empty, and the
// second one would read all of it. (Where an order is known, what is in the pool was refused.)
void Parameters::move_in(Lock& lock, Part& part) {
  Tensor& tensor = *part.tensor;
  Copy* const old = part.shared;
  if (volume_ == nullptr || old == nullptr || old->run == nullptr || tensor.cached != nullptr ||
      part.refused || old->blocks != part.blocks || cache_.forecast().known())
    return;
  // What is newer than the store stays the only copy that is.
  if (old->newer() || old->failed || old->gone) return;
  if (admit(tensor, 0) != Admission::in) return;
  Copy& fresh = *tensor.cached;
  use(fresh);
  ++fresh.reading;  // for everybody else
  const auto size = static_cast<std::size_t>(footprint(tensor, part.blocks));
  lock.unlock();  // the one is leased for reading, the other pinned: both stay as they are
  std::memcpy(fresh.data, old->data, size);
  lock.lock();
  --fresh.reading;
  fresh.checked = true;
  part.shared = &fresh;
  old->gone = true;
  unuse(*old);
  moved_.notify_all();
}

void Parameters::await(Lock& lock, Request& request, const Copy& copy) {
  if (copy.coming()) {
    promote(copy);
    if (request.deadline == TimePoint{}) request.deadline = start_deadline();
    while (copy.coming()) {
      const TimePoint start = Clock::now();
      if (Trip* const trip = next_to_check(&copy)) {
        check(lock, *trip);
        stats_.checksum_seconds += seconds_between(start, Clock::now());
        continue;
      }
      const bool late = moved_.wait_until(lock, request.deadline) == std::cv_status::timeout;
      const TimePoint now = Clock::now();
      stats_.stall_read_seconds += seconds_between(start, now);
      if (late && now >= request.deadline && copy.coming()) timed_out(request, Step::io);
    }
  }
  if (copy.read_failed()) throw unreadable(*copy.tensor, *copy.error);
}

// Of a copy that nobody else can see: what was read of it.
void Parameters::check_own(Lock& lock, Part& part) {
  const Copy& copy = *part.own;
  const Blocks& blocks = part.blocks;
  const bool everything = part.hold->access == Access::update;
  lock.unlock();
  const TimePoint start = Clock::now();
  try {
    if (everything) {
      verify(copy, blocks);
    } else {
      for (const std::int64_t edge : edges(part))
        if (edge >= 0) verify(copy, {edge, edge + 1});
    }
  } catch (...) {
    lock.lock();
    throw;
  }
  const double seconds = seconds_between(start, Clock::now());
  lock.lock();
  stats_.checksum_seconds += seconds;
}

void Parameters::build_views(Hold& hold) {
  hold.views.reserve(hold.parts.size());
  for (const Part& part : hold.parts) {
    const Tensor& tensor = *part.tensor;
    View view;
    view.param = static_cast<ParamId>(tensor.id);
    view.tag = tensor.tag;
    view.dtype = tensor.dtype;
    view.offset = part.offset;
    view.count = part.count;
    view.hold_ = &hold;
    if (part.own != nullptr) {
      view.data_ = at(*part.own, part.blocks.first);
    } else if (part.shared != nullptr) {
      view.data_ = at(*part.shared, part.blocks.first);
    } else if (tensor.home != nullptr) {
      view.data_ = tensor.home + part.blocks.first * block_bytes(tensor);
    }
    if (view.data_ != nullptr)
      view.data_ += (part.offset - part.blocks.first * block_) * width(tensor.dtype);
    hold.views.push_back(view);
  }
}

// ---- giving back

// Takes the parts out of their tensors' lists and lets go of the copies. With the mutex.
void Parameters::let_go(Hold& hold) noexcept {
  for (Part& part : hold.parts) {
    if (part.linked)
      for (Part** link = &part.tensor->parts; *link != nullptr; link = &(*link)->next)
        if (*link == &part) {
          *link = part.next;
          break;
        }
    part.linked = false;
    if (part.exclusive) ahead_ = 0;  // it was passed over
    if (part.shared != nullptr) unuse(*std::exchange(part.shared, nullptr));
    if (part.own != nullptr) {
      part.own->gone = true;
      unuse(*std::exchange(part.own, nullptr));
    }
  }
}

void Parameters::undo(Hold& hold) noexcept {
  let_go(hold);
  free_hold(hold);
}

void Parameters::release(Hold& hold) noexcept {
  // It is the engine's code as well as what it holds, perhaps another lease: gone without the
  // mutex.
  const Fence fence = std::exchange(hold.fence, nullptr);
  Lock lock(mutex_);
  undo(hold);
  run_ahead();
  moved_.notify_all();
}

// The new bytes take the place of the old ones. What lies in the cache or at home is copied there;
// else the lease's own copy is the newest from now on, and is written behind. The parts are
// exclusive, so all of this but the last step needs no mutex; until that nobody can look.
void Parameters::commit(Hold& hold) {
  house_->check_process();
  if (hold.access == Access::read) return release(hold);
  begin_changes(hold);
  const TimePoint start = Clock::now();
  for (Part& part : hold.parts) {
    if (part.blocks.empty()) continue;
    Tensor& tensor = *part.tensor;
    const bool cached = in_cache(part) && !part.late;
    if (cached || tensor.home != nullptr) {
      const std::int64_t skip = (part.offset - part.blocks.first * block_) * width(tensor.dtype);
      std::byte* const to = cached ? at(*part.shared, part.blocks.first)
                                   : tensor.home + part.blocks.first * block_bytes(tensor);
      std::memcpy(to + skip, part.own->data + skip,
                  static_cast<std::size_t>(part.count * width(tensor.dtype)));
    }
    if (volume_ != nullptr) put_seals(cached ? *part.shared : *part.own, part.blocks);
  }
  const double seconds = seconds_between(start, Clock::now());
  Lock lock(mutex_);
  stats_.checksum_seconds += seconds;
  for (Part& part : hold.parts) {
    if (part.blocks.empty() || volume_ == nullptr) continue;
    Tensor& tensor = *part.tensor;
    tensor.written = true;
    if (hold.access == Access::overwrite || part.blocks != all(tensor))
      cache_.overwritten(part.count);
    supersede(part);
    if (in_cache(part)) {
      end_change(part);
      continue;
    }
    Copy& copy = *std::exchange(part.own, nullptr);
    copy.checked = true;
    set_dirty(copy, copy.blocks);
    copy.attempts = 0;
    link(copy);
    start_write(copy);
    unuse(copy);
  }
  undo(hold);
  run_ahead();
  moved_.notify_all();
}

// From here on no write of what is going to be copied into begins. Where one is under way (its
// memory must stay as it is), the commit is late.
void Parameters::begin_changes(Hold& hold) {
  Lock lock(mutex_);
  for (Part& part : hold.parts) {
    if (!in_cache(part)) continue;
    part.late = part.shared->writing;
    if (!part.late) ++part.shared->changing;
  }
}

void Parameters::end_change(Part& part) noexcept {
  Copy& copy = *part.shared;
  if (!part.late) {
    --copy.changing;
    copy.checked = true;
    set_dirty(copy, copy.dirty.hull(part.blocks));
    if (copy.queued && copy.changing == 0) start_write(copy);
    return;
  }
  Copy& own = *std::exchange(part.own, nullptr);
  stats_.unwritten_bytes += bytes(*own.tensor, own.blocks);  // not dirty: it is never written
  own.next = copy.late;
  copy.late = &own;
  if (!copy.writing) take_late(copy);
}

// A write has ended: what was committed meanwhile can take its place. It has whole blocks.
void Parameters::take_late(Copy& copy) noexcept {
  while (copy.late != nullptr) {
    Copy& own = *copy.late;
    copy.late = std::exchange(own.next, nullptr);
    std::memcpy(at(copy, own.blocks.first), own.data,
                static_cast<std::size_t>(footprint(*copy.tensor, own.blocks)));
    copy.checked = true;
    set_dirty(copy, copy.dirty.hull(own.blocks));
    stats_.unwritten_bytes -= bytes(*own.tensor, own.blocks);
    own.gone = true;
    unuse(own);
  }
}

bool Parameters::in_cache(const Part& part) {
  return part.shared != nullptr && part.shared->run == nullptr;
}

// Older copies of these blocks, written or not, are worth nothing any more.
void Parameters::supersede(Part& part) noexcept {
  for (Copy *copy = part.tensor->copies, *next = nullptr; copy != nullptr; copy = next) {
    next = copy->next;
    if (!copy->blocks.meets(part.blocks) || copy->gone) continue;
    if (keep_rest(*copy, part.blocks, copy == part.shared ? 1 : 0)) continue;
    copy->gone = true;
    if (copy->queued || copy->failed) {
      copy->queued = false;
      set_failed(*copy, false);
      set_dirty(*copy, {});
      unuse(*copy);
    } else if (copy->users == 0) {
      free_copy(*copy);
    }
  }
}

void Parameters::release_after(Hold& hold, Fence fence) {
  Lock lock(mutex_);
  hold.fence = std::move(fence);
  hold.next = fenced_;
  fenced_ = &hold;
  fenced_count_.fetch_add(1);
  moved_.notify_all();  // who waits for it polls from now on
}

// Fences are the engine's code (a driver's query, say): they are asked without the mutex.
void Parameters::poll_fences() noexcept {
  if (fenced_count_.load() == 0) return;
  Hold* list = nullptr;
  {
    Lock lock(mutex_);
    list = std::exchange(fenced_, nullptr);
  }
  Hold* waiting = nullptr;
  while (list != nullptr) {
    Hold* const hold = list;
    list = hold->next;
    bool over = false;
    try {
      over = hold->fence();
    } catch (const std::exception& error) {
      log::warning("\"{}\": a fence threw and is asked again: {}", options_.name, error.what());
    } catch (...) {
      log::warning("\"{}\": a fence threw and is asked again", options_.name);
    }
    if (over) {
      fenced_count_.fetch_sub(1);
      release(*hold);
    } else {
      hold->next = waiting;
      waiting = hold;
    }
  }
  if (waiting == nullptr) return;
  Lock lock(mutex_);
  Hold* last = waiting;
  while (last->next != nullptr) last = last->next;
  last->next = fenced_;
  fenced_ = waiting;
}

// ---- waiting

TimePoint Parameters::start_deadline() const { return deadline_in(timeout_); }

// Whoever waits for memory is served in turn; others, who need none, pass by.
bool Parameters::mine(const Request& request) const {
  return queue_.empty() || queue_.front() == request.ticket;
}

void Parameters::leave_queue(Request& request) noexcept {
  if (request.ticket == 0) return;
  std::erase(queue_, request.ticket);
  request.ticket = 0;
  moved_.notify_all();
}

void Parameters::wait_for(Lock& lock, Request& request, Step why) {
  const TimePoint start = Clock::now();
  if (request.deadline == TimePoint{}) request.deadline = start_deadline();
  if (why == Step::memory) {
    if (request.ticket == 0) {
      request.ticket = ++last_ticket_;
      queue_.push_back(request.ticket);
    }
    if (!request.retried && failed_copy() != nullptr) {
      request.retried = true;
      retry_failed_writes();
    }
    // Tried again, and still what cannot be written holds memory that is wanted: whoever waits
    // here may hold the other leases himself, so that waiting would only end with the timeout.
    const Copy* const failed = failed_copy();
    if (failed != nullptr && trips_under_way_ == 0) throw_write_error(*failed);
  } else {
    leave_queue(request);  // what it waits for now may depend on those behind it
  }
  if (why != Step::memory || !mine(request)) let_cached_go(*request.hold);
  double& stall = why == Step::lease    ? stats_.stall_lease_seconds
                  : why == Step::memory ? stats_.stall_memory_seconds
                                        : stats_.stall_read_seconds;
  if (fenced_count_.load() > 0) {
    lock.unlock();
    poll_fences();
    lock.lock();
    // Whatever came meanwhile is seen a moment later.
    moved_.wait_until(lock, std::min(request.deadline, start + std::chrono::milliseconds(1)));
  } else {
    moved_.wait_until(lock, request.deadline);
  }
  const TimePoint now = Clock::now();
  stall += seconds_between(start, now);
  if (now >= request.deadline) timed_out(request, why);
}

void Parameters::timed_out(const Request& request, Step why) {
  std::string text =
      fmt::format("\"{}\": waited {:.1f} s for {}", options_.name, timeout_, what(request));
  if (why == Step::lease) {
    text += fmt::format(": {}", describe_leases(request));
  } else if (why == Step::memory) {
    std::int64_t total = 0;
    for (const Part& part : request.hold->parts)
      if (part.shared == nullptr) total += footprint(*part.tensor, part.blocks);
    text += fmt::format(
        ": no room for {} in the pool of {} x {} bytes; {}; give leases back sooner, or raise "
        "offload_param.buffer_count",
        format_bytes(total), offload_.buffer_count, offload_.buffer_size,
        pool_ != nullptr ? pool_->describe_holders() : "it is not made yet");
  } else {
    text +=
        fmt::format(": its reads or writes do not end; {}", house_->engine().describe_in_flight());
  }
  throw Error(Errc::timeout, text);
}

std::string Parameters::describe_leases(const Request& request) const {
  for (const Part& part : request.hold->parts)
    for (const Part* other = part.tensor->parts; other != nullptr; other = other->next)
      if ((other->exclusive || request.hold->access != Access::read) &&
          other->blocks.meets(part.blocks))
        return fmt::format("elements [{}, {}) of \"{}\" are leased for {}", other->offset,
                           other->offset + other->count, part.tensor->name,
                           !other->exclusive                          ? "reading"
                           : other->hold->access == Access::overwrite ? "overwriting"
                                                                      : "updating");
  return "it was leased until now";
}

}  // namespace spillway::swap
