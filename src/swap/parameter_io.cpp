// Movements between copies and the volume, and the seals that tell whether bytes are the right
// ones.

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/current_error.h"
#include "base/throw.h"
#include "swap/parameters.h"

namespace spillway::swap {
namespace {

constexpr int write_attempts = 2;

}  // namespace

// Its words take memory; where there is none, that is the error.
Error Parameters::error_of(const store::Movement& movement) const noexcept {
  try {
    return movement.error();
  } catch (...) {
    return no_memory_;
  }
}

Error Parameters::unreadable(const Tensor& tensor, const Error& error) const noexcept {
  try {
    return Error(error.code(), fmt::format("\"{}\": parameter \"{}\" cannot be read: {}",
                                           options_.name, tensor.name, error.what()));
  } catch (...) {
    return error;
  }
}

Trip& Parameters::new_trip() {
  if (free_trips_ == nullptr) {
    trips_.push_back(std::make_unique<Trip>(*volume_));
    free_trips_ = trips_.back().get();
    free_trips_->owner = this;
  }
  Trip& trip = *free_trips_;
  free_trips_ = trip.next;
  trip.next = nullptr;
  trip.copies.clear();
  trip.blocks = {};
  trip.intake = nullptr;
  trip.ahead = trip.awaited = false;
  ++trips_under_way_;
  return trip;
}

void Parameters::end_trip(Trip& trip) noexcept {
  trip.copies.clear();
  trip.intake = nullptr;
  trip.next = free_trips_;
  free_trips_ = &trip;
  --trips_under_way_;
}

// Starts to read `blocks` of a copy, but for what was never written, which is made.
void Parameters::start_read(Copy& copy, const Blocks& blocks, io::Service service) noexcept {
  const Tensor& tensor = *copy.tensor;
  copy.right += blocks.count();
  for_each_written_run(*copy.tensor, blocks, at(copy, blocks.first),
                       [&](std::int64_t address, std::byte*, std::int64_t space) {
                         const std::int64_t each = block_bytes(tensor);
                         const std::int64_t first = (address - tensor.address) / each;
                         const Blocks run = {first, first + divide_up(space, each)};
                         copy.right -= run.count();
                         read_in_pieces(copy, run, service);
                       });
}

void Parameters::read_in_pieces(Copy& copy, const Blocks& blocks, io::Service service) noexcept {
  const Tensor& tensor = *copy.tensor;
  Copy* const one = &copy;
  const std::int64_t most = std::max<std::int64_t>(1, piece_bytes_ / block_bytes(tensor));
  for (std::int64_t first = blocks.first; first < blocks.last; first += most) {
    const Blocks piece = {first, std::min(first + most, blocks.last)};
    depart(std::span(&one, 1), piece, tensor.address + first * block_bytes(tensor), at(copy, first),
           footprint(tensor, piece), service);
  }
}

// Reads whole copies. Those that follow each other in memory and in the volume are read as one.
void Parameters::start_reads(std::span<Copy* const> copies, io::Service service) noexcept {
  const auto whole = [](const Copy& copy) {
    const std::uint64_t* const seals = copy.tensor->seals();
    return std::all_of(seals + copy.blocks.first, seals + copy.blocks.last,
                       [](std::uint64_t seal) { return seal != 0; });
  };
  const auto address = [this](const Copy& copy) {
    return copy.tensor->address + copy.blocks.first * block_bytes(*copy.tensor);
  };
  for (Copy* copy : copies) use(*copy);
  for (std::size_t i = 0; i < copies.size();) {
    Copy& first = *copies[i];
    std::int64_t bytes = footprint(*first.tensor, first.blocks);
    if (bytes > piece_bytes_ || !whole(first)) {
      start_read(first, first.blocks, service);
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    for (; end < copies.size(); ++end) {
      const Copy& next = *copies[end];
      const std::int64_t more = footprint(*next.tensor, next.blocks);
      if (bytes + more > piece_bytes_ || next.data != first.data + bytes ||
          address(next) != address(first) + bytes || !whole(next))
        break;
      bytes += more;
    }
    depart(copies.subspan(i, end - i), {}, address(first), first.data, bytes, service);
    i = end;
  }
  for (Copy* copy : copies) {
    if (!copy->coming()) count_ahead(*copy);
    unuse(*copy);
  }
}

// A read that cannot even be submitted is one that has failed.
void Parameters::depart(std::span<Copy* const> copies, const Blocks& blocks, std::int64_t address,
                        std::byte* data, std::int64_t bytes, io::Service service) noexcept {
  Trip* trip = nullptr;
  for (Copy* copy : copies) {
    use(*copy);
    ++copy->reading;
  }
  try {
    trip = &new_trip();
    trip->copies.assign(copies.begin(), copies.end());
    trip->blocks = blocks;
    trip->ahead = service == io::Service::prefetch;
    trip->movement.start(io::Op::read, address, data, bytes, service, read_done, trip);
    if (trip->ahead) ahead_bytes_ += bytes;
  } catch (...) {
    const Error error = current_error(no_memory_);
    for (Copy* copy : copies) {
      --copy->reading;
      copy->error = error;
      unuse(*copy);
    }
    if (trip != nullptr) end_trip(*trip);
  }
}

void Parameters::read_done(store::Movement& movement, void* context) {
  Trip& trip = *static_cast<Trip*>(context);
  Parameters& self = *trip.owner;
  Lock lock(self.mutex_);
  if (trip.ahead) self.ahead_bytes_ -= movement.bytes();
  if (!movement.ok()) {
    const Error error = self.error_of(movement);
    return self.arrive(trip, &error);
  }
  if (self.take_for_check(trip))
    self.run_ahead();
  else
    self.arrive(trip, nullptr);
}

// The copies of a trip are there, or are known not to come. (Bytes count as read from now on, as
// copies count as read ahead, so that the difference is what was read for fetches at any time.)
void Parameters::arrive(Trip& trip, const Error* error) noexcept {
  if (error == nullptr) stats_.bytes_read += trip.movement.bytes();
  for (Copy* copy : trip.copies) {
    --copy->reading;
    if (error != nullptr) {
      copy->error = *error;
      if (copy->run != nullptr) unlink(*copy);  // nobody else is to find it
    }
    if (!copy->coming()) {
      count_ahead(*copy);
      copy->checked = copy->checked || (copy->right == copy->blocks.count() && !copy->error);
    } else if (error == nullptr) {
      count_ahead(*copy, copy->waiting + trip.movement.bytes());
    }
    unuse(*copy);
  }
  end_trip(trip);
  run_ahead();
  moved_.notify_all();
}

void Parameters::promote(const Copy& copy) noexcept {
  for (auto& trip : trips_)
    if (std::find(trip->copies.begin(), trip->copies.end(), &copy) != trip->copies.end()) {
      trip->movement.promote();
      trip->awaited = true;
    }
}

// ---- writing

bool Parameters::older_write(const Copy& copy) const {
  for (const Copy* other = copy.tensor->copies; other != nullptr; other = other->next)
    if (other != &copy && other->writing && other->blocks.meets(copy.blocks)) return true;
  return false;
}

// Writes what of a copy is newer than the store. A submission that is refused counts as a write
// that failed. Two writes of the same blocks are never under way at once: the later one waits; so
// does one of a copy that a commit is changing.
void Parameters::start_write(Copy& copy) noexcept {
  if (copy.dirty.empty() || copy.writing) return;
  Tensor& tensor = *copy.tensor;
  copy.error.reset();  // of the last attempt: with it, it would count as a read that failed
  if (copy.changing > 0 || (copy.run != nullptr && older_write(copy))) {
    if (!copy.queued && !copy.failed) use(copy);
    copy.queued = true;
    set_failed(copy, false);
    return;
  }
  if (!copy.queued && !copy.failed) use(copy);
  copy.queued = false;  // the use that they had is the write's now
  set_failed(copy, false);
  copy.writing = true;
  ++copy.attempts;
  Trip* trip = nullptr;
  try {
    trip = &new_trip();
    trip->copies.push_back(&copy);
    trip->blocks = copy.dirty;
    stats_.unwritten_bytes += bytes(tensor, trip->blocks);  // until it has ended
    set_dirty(copy, {});
    trip->movement.start(io::Op::write, tensor.address + trip->blocks.first * block_bytes(tensor),
                         at(copy, trip->blocks.first), footprint(tensor, trip->blocks),
                         io::Service::write, write_done, trip);
  } catch (...) {
    copy.error = current_error(no_memory_);
    copy.writing = false;
    set_failed(copy, true);
    if (trip != nullptr) {
      stats_.unwritten_bytes -= bytes(tensor, trip->blocks);
      set_dirty(copy, copy.dirty.hull(trip->blocks));
      end_trip(*trip);
    }
    moved_.notify_all();
  }
}

void Parameters::write_done(store::Movement& movement, void* context) {
  Trip& trip = *static_cast<Trip*>(context);
  Parameters& self = *trip.owner;
  Lock lock(self.mutex_);
  Copy& copy = *trip.copies.front();
  Tensor& tensor = *copy.tensor;
  const Blocks blocks = trip.blocks;
  copy.writing = false;
  self.stats_.unwritten_bytes -= self.bytes(tensor, blocks);
  self.end_trip(trip);
  self.take_late(copy);
  if (movement.ok()) {
    self.stats_.bytes_written += movement.bytes();
    copy.attempts = 0;
    copy.error.reset();
    self.ahead_ = 0;  // while it was written it was passed over
    self.unuse(copy);
  } else if (copy.gone) {
    self.unuse(copy);
  } else {
    self.set_dirty(copy, copy.dirty.hull(blocks));
    copy.error = self.error_of(movement);
    self.set_failed(copy, true);  // keeps the use
    if (copy.attempts < write_attempts) {
      ++self.stats_.write_retries;
      self.start_write(copy);
    }
  }
  self.write_queued(tensor);
  self.run_ahead();
  self.moved_.notify_all();
}

void Parameters::write_queued(Tensor& tensor) noexcept {
  for (Copy *copy = tensor.copies, *next = nullptr; copy != nullptr; copy = next) {
    next = copy->next;
    if (!copy->queued) continue;
    if (copy->gone) {
      copy->queued = false;
      set_dirty(*copy, {});
      unuse(*copy);
    } else {
      start_write(*copy);
    }
  }
}

// Calls `visit` for every copy whose last write failed.
template <typename Visit>
void Parameters::for_each_failed(Visit visit) const {
  if (failed_ == 0) return;
  for (const auto& copy : copies_)
    if (copy->failed && !copy->gone) visit(*copy);
}

void Parameters::retry_failed_writes() noexcept {
  for_each_failed([this](Copy& copy) {
    copy.attempts = 0;
    start_write(copy);
  });
}

const Copy* Parameters::failed_copy() const {
  const Copy* failed = nullptr;
  for_each_failed([&](const Copy& copy) { failed = &copy; });
  return failed;
}

// A fetch finds a failed write in its way. Each is tried again once for it: the others may have
// failed when the disk was ill.
void Parameters::retry_or_throw(Request& request, Copy& copy) {
  if (request.number == 0) request.number = ++last_number_;
  if (copy.retried_in == request.number) throw_write_error(copy);
  copy.retried_in = request.number;
  copy.attempts = 0;
  start_write(copy);
  if (copy.failed) throw_write_error(copy);  // at once: nothing is under way that would end
}

void Parameters::throw_write_error(const Copy& copy) const {
  throw_error(copy.error ? copy.error->code() : Errc::io_error,
              "\"{}\": parameter \"{}\" is committed and cannot be written; its bytes are kept in "
              "memory, and flush() tries again: {}",
              options_.name, copy.tensor->name, copy.error ? copy.error->what() : "unknown");
}

void Parameters::flush() {
  Lock lock = lock_sealed(Sealed::without_cache);
  retry_failed_writes();
  // Of no progress: what there is to write may take longer than any one request.
  TimePoint deadline = deadline_in(timeout_);
  std::int64_t written = stats_.bytes_written;
  for (;;) {
    if (std::exchange(written, stats_.bytes_written) != stats_.bytes_written)
      deadline = deadline_in(timeout_);
    bool busy = false;
    for (const auto& copy : copies_) {
      if (copy->gone || copy->tensor == nullptr) continue;
      if (!copy->dirty.empty() && !copy->failed && !copy->writing && !copy->queued) {
        copy->attempts = 0;
        start_write(*copy);
      }
      busy = busy || copy->writing || copy->queued;
    }
    if (!busy) break;
    if (moved_.wait_until(lock, deadline) == std::cv_status::timeout && Clock::now() >= deadline)
      throw_error(Errc::timeout, "\"{}\": flush waited {:.1f} s for a write to end; {}",
                  options_.name, timeout_, house_->engine().describe_in_flight());
  }
  if (const Copy* const failed = failed_copy()) throw_write_error(*failed);
}

// ---- seals

std::uint64_t Parameters::seal_of(const Tensor& tensor, std::int64_t block,
                                  const std::byte* data) const {
  return volume_->seal(tensor.address + block * block_bytes(tensor), data,
                       bytes(tensor, {block, block + 1}));
}

void Parameters::compare(Tensor& tensor, std::int64_t block, const std::byte* data) const {
  const std::uint64_t expected = tensor.seals()[block];
  if (expected == 0) return;
  const std::uint64_t got = seal_of(tensor, block, data);
  if (got == expected) return;
  const std::int64_t size = bytes(tensor, {block, block + 1});
  const std::int64_t address = tensor.address + block * block_bytes(tensor);
  throw_error(
      Errc::corrupt,
      "\"{}\": parameter \"{}\", {} bytes from element {} on ({}) are not what was written: "
      "{} {:016x} expected, {:016x} got; the device, or another process, changed them: look "
      "at dmesg and at the drive's SMART data",
      options_.name, tensor.name, size, block * block_, volume_->place(address, size),
      io_.checksums ? "checksum" : "guard", expected, got);
}

void Parameters::verify(const Copy& copy, const Blocks& blocks) const {
  for (std::int64_t block = blocks.first; block < blocks.last; ++block)
    compare(*copy.tensor, block, at(copy, block));
}

// Computes the seals of blocks that are held exclusively, and clears what is behind the last
// element: nothing of other tensors goes to the disk.
void Parameters::put_seals(const Copy& copy, const Blocks& blocks) const {
  Tensor& tensor = *copy.tensor;
  const std::int64_t size = bytes(tensor, blocks);
  const std::int64_t space = footprint(tensor, blocks);
  std::memset(at(copy, blocks.first) + size, 0, static_cast<std::size_t>(space - size));
  for (std::int64_t block = blocks.first; block < blocks.last; ++block)
    tensor.seals()[block] = seal_of(tensor, block, at(copy, block));
}

// Compares a shared copy that has been read with its seals, once, on the thread that needs it. Of
// one that is superseded, only the lease's own blocks: others' seals may be changing.
void Parameters::make_checked(Lock& lock, Request& request, Copy& copy, const Blocks& own) {
  if (request.deadline == TimePoint{}) request.deadline = start_deadline();
  while (copy.checking) {
    if (moved_.wait_until(lock, request.deadline) == std::cv_status::timeout &&
        Clock::now() >= request.deadline)
      timed_out(request, Step::io);
  }
  if (copy.read_failed()) throw Error(*copy.error);
  if (copy.checked) return;
  const bool whole = !copy.gone;
  const Blocks blocks = whole ? copy.blocks : own;
  copy.checking = whole;
  lock.unlock();
  const TimePoint start = Clock::now();
  std::optional<Error> wrong;
  try {
    verify(copy, blocks);
  } catch (const Error& error) {
    wrong = error;
  }
  const double seconds = seconds_between(start, Clock::now());
  lock.lock();
  stats_.checksum_seconds += seconds;
  if (whole) {
    copy.checking = false;
    copy.checked = !wrong;
  }
  moved_.notify_all();
  if (!wrong) return;
  copy.error = wrong;
  if (copy.run != nullptr) unlink(copy);
  throw Error(*wrong);
}

}  // namespace spillway::swap
