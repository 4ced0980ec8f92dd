// Checksums of what was read ahead, on a thread of their own: a fetch finds them compared.

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

// Takes over a trip that has just ended well, if it was ahead of its fetch, and is still: who waits
// for it compares what he needs himself. With the mutex.
bool Parameters::take_for_check(Trip& trip) noexcept {
  if (!trip.ahead || trip.awaited || checker_stops_ || !checker_.joinable()) return false;
  trip.next = nullptr;
  (last_to_check_ != nullptr ? last_to_check_->next : first_to_check_) = &trip;
  last_to_check_ = &trip;
  to_check_.notify_one();
  return true;
}

// Somebody waits for a copy whose bytes are there: it does not wait for other copies' checksums.
void Parameters::skip_check(const Copy& copy) noexcept {
  Trip* before = nullptr;
  for (Trip* trip = first_to_check_; trip != nullptr; before = trip, trip = trip->next) {
    if (std::find(trip->copies.begin(), trip->copies.end(), &copy) == trip->copies.end()) continue;
    (before != nullptr ? before->next : first_to_check_) = trip->next;
    if (last_to_check_ == trip) last_to_check_ = before;
    arrive(*trip, nullptr);
    return;
  }
}

void Parameters::check_arrivals() noexcept {
  sys::name_thread("spillway-check");
  Lock lock(mutex_);
  for (;;) {
    to_check_.wait(lock, [this] { return first_to_check_ != nullptr || checker_stops_; });
    if (first_to_check_ == nullptr) return;
    Trip& trip = *first_to_check_;
    first_to_check_ = trip.next;
    if (first_to_check_ == nullptr) last_to_check_ = nullptr;
    for (Copy* copy : trip.copies) check_ahead(lock, *copy);
    arrive(trip, nullptr);
  }
}

// Looks at a copy that counts as being read still, so that it stays and nobody else touches it.
// What does not match is left unchecked: the fetch that needs it finds the same, and says so.
void Parameters::check_ahead(Lock& lock, Copy& copy) noexcept {
  const auto sound = [&copy] { return copy.reading == 1 && !copy.gone && !copy.error; };
  if (!sound() || copy.checked || copy.checking) return;
  Tensor& tensor = *copy.tensor;
  // Who changes blocks changes their seals as well, without the mutex; who is let in later waits
  // for the mutex, and this look at the seals is over by then.
  for (const Part* part = tensor.parts; part != nullptr; part = part->next)
    if (part->exclusive && part->blocks.meets(copy.blocks)) return;
  try {
    const std::uint64_t* const seals = tensor.seals();
    seals_to_check_.assign(seals + copy.blocks.first, seals + copy.blocks.last);
  } catch (const std::bad_alloc&) {
    return;
  }
  lock.unlock();
  bool right = true;
  for (std::int64_t block = copy.blocks.first; right && block < copy.blocks.last; ++block) {
    const std::uint64_t expected =
        seals_to_check_[static_cast<std::size_t>(block - copy.blocks.first)];
    right = expected == 0 || expected == seal_of(tensor, block, at(copy, block));
  }
  lock.lock();
  if (right && sound()) copy.checked = true;
}

}  // namespace spillway::swap
