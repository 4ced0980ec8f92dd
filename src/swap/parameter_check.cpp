// Checksums of what has been read, on a thread of their own and on those that wait for it: what was
// read ahead a fetch finds compared, and what it waits for is compared while the rest is coming.

#include <algorithm>
#include <system_error>

#include "base/log.h"
#include "swap/parameters.h"
#include "sys/process.h"

namespace spillway::swap {

// Without the thread, or with guards that cost nothing, fetches compare what they need themselves.
void Parameters::start_checker() {
  if (volume_ == nullptr || !io_.checksums || checker_.joinable()) return;
  const sys::SignalsBlocked blocked;
  const Lock lock(mutex_);  // the I/O thread looks for it
  try {
    checker_ = std::thread([this] { check_arrivals(); });
  } catch (const std::system_error& error) {
    log::warning("\"{}\": no thread for checksums ({}): fetches compute them themselves",
                 options_.name, error.what());
  }
}

void Parameters::stop_checker() noexcept {
  {
    const Lock lock(mutex_);
    checker_stops_ = true;
    to_check_.notify_all();
  }
  if (checker_.joinable()) checker_.join();
}

// Takes over a trip that has just ended well, if it was ahead of its fetch and is still, or is
// large: two can compare its pieces. Else who waits for it does. With the mutex.
bool Parameters::take_for_check(Trip& trip) noexcept {
  const std::int64_t large = piece_bytes_ / 8;
  if (checker_stops_ || !checker_.joinable()) return false;
  if ((!trip.ahead || trip.awaited) && trip.movement.bytes() < large) return false;
  trip.next = nullptr;
  (last_to_check_ != nullptr ? last_to_check_->next : first_to_check_) = &trip;
  last_to_check_ = &trip;
  to_check_.notify_one();
  if (!trip.ahead || trip.awaited) moved_.notify_all();
  return true;
}

// Out of the queue: the first of those with the copy, or of all; null where there is none.
Trip* Parameters::next_to_check(const Copy* copy) noexcept {
  Trip* before = nullptr;
  for (Trip* trip = first_to_check_; trip != nullptr; before = trip, trip = trip->next) {
    if (copy != nullptr &&
        std::find(trip->copies.begin(), trip->copies.end(), copy) == trip->copies.end())
      continue;
    (before != nullptr ? before->next : first_to_check_) = trip->next;
    if (last_to_check_ == trip) last_to_check_ = before;
    return trip;
  }
  return nullptr;
}

void Parameters::check_arrivals() noexcept {
  sys::name_thread("spillway-check");
  Lock lock(mutex_);
  for (;;) {
    to_check_.wait(lock, [this] { return first_to_check_ != nullptr || checker_stops_; });
    Trip* const trip = next_to_check(nullptr);
    if (trip == nullptr) return;
    check(lock, *trip);
  }
}

void Parameters::check(Lock& lock, Trip& trip) noexcept {
  for (Copy* copy : trip.copies)
    check(lock, trip, *copy, trip.blocks.empty() ? copy->blocks : trip.blocks);
  arrive(trip, nullptr);
}

// Looks at blocks of a copy that counts as being read still, so that it stays and nobody else
// touches it. What does not match is left unchecked: the fetch that needs it finds the same, and
// says so.
void Parameters::check(Lock& lock, Trip& trip, Copy& copy, const Blocks& blocks) noexcept {
  if (copy.gone || copy.error || copy.checked || copy.checking) return;
  Tensor& tensor = *copy.tensor;
  // Who changes blocks changes their seals as well, without the mutex; who is let in later waits
  // for the mutex, and this look at the seals is over by then. Who reads what he is going to
  // change has not begun to.
  for (const Part* part = tensor.parts; part != nullptr; part = part->next)
    if (part->exclusive && part->own != &copy && part->blocks.meets(blocks)) return;
  try {
    const std::uint64_t* const seals = tensor.seals();
    trip.seals.assign(seals + blocks.first, seals + blocks.last);
  } catch (const std::bad_alloc&) {
    return;
  }
  lock.unlock();
  bool right = true;
  for (std::int64_t block = blocks.first; right && block < blocks.last; ++block) {
    const std::uint64_t expected = trip.seals[static_cast<std::size_t>(block - blocks.first)];
    right = expected == 0 || expected == seal_of(tensor, block, at(copy, block));
  }
  lock.lock();
  if (right) copy.right += blocks.count();
}

}  // namespace spillway::swap
