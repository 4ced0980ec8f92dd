// read_into: committed bytes into memory of the engine's.

#include <algorithm>
#include <cstring>

#include "base/align.h"
#include "base/current_error.h"
#include "base/throw.h"
#include "swap/parameters.h"
#include "swap/widen.h"

namespace spillway::swap {

// Whole blocks can go where they belong at once, if that lies on the alignment.
bool Parameters::straight(const Tensor& tensor, const Range& range, std::span<std::byte> to) const {
  return volume_ != nullptr && range.offset % block_ == 0 &&
         reinterpret_cast<std::intptr_t>(to.data()) % alignment_ == 0 &&
         range.count * width(tensor.dtype) >= alignment_;
}

ReadInto Parameters::read_into(ParamId id, std::span<std::byte> to, Range range) {
  auto intake = std::make_unique<Intake>();
  intake->owner = this;
  {
    Lock lock = lock_sealed();
    Tensor& one = tensor(id);
    check_range(one, range);
    const std::int64_t size = range.count * width(one.dtype);
    if (static_cast<std::int64_t>(to.size()) != size)
      throw_error(
          Errc::invalid_argument,
          "\"{}\": {} elements of parameter \"{}\" are {} bytes; the memory for them has {}",
          options_.name, range.count, one.name, size, to.size());
    if (size == 0) return ReadInto(intake.release());
    const Blocks blocks{range.offset / block_, blocks_of(range.offset + range.count)};
    if (!here_or_coming(one, blocks) && straight(one, range, to)) {
      Request request;
      request.hold = new_hold(Access::read);
      try {
        request.hold->parts.reserve(1);
        add_part(*request.hold, one, range);
        intake->to = to;
        intake->hold = request.hold;
        read_straight(lock, request, *intake);
      } catch (...) {
        if (!lock.owns_lock()) lock.lock();
        leave_queue(request);
        if (request.hold != nullptr) undo(*request.hold);
        moved_.notify_all();
        throw;
      }
      return ReadInto(intake.release());
    }
  }
  // Through leases, a part of the pool at a time. One lease on nothing but the range would keep
  // others out; each part is consistent by itself, and so is what lies in memory whole.
  copy_out(id, to, range);
  return ReadInto(intake.release());
}

// Calls `visit(bytes, first)` for the range, one lease after the other; `first` is the first
// element of each, from the range's on. `counts`: they are uses in the order of a pass. What is in
// memory is taken at once; it may be larger than the pool, and go before the lease has it.
template <typename Visit>
void Parameters::for_each_part(ParamId id, const Range& range, bool counts, Visit visit) {
  bool in_parts = false;
  const std::int64_t range_end = range.offset + range.count;
  for (std::int64_t from = range.offset; from < range_end;) {
    Lock lock(mutex_);
    const Tensor& one = tensor(id);
    in_parts = in_parts || !here_or_coming(one, {from / block_, blocks_of(range_end)});
    // Parts end on blocks, so that none is read twice.
    const std::int64_t end =
        in_parts ? std::min(range_end, align_down(from + copy_step(one), block_)) : range_end;
    Request request = request_for(id, Access::read, {from, end - from});
    request.whole = request.whole && counts;
    Lease lease;
    try {
      lease = fetch(lock, request);
    } catch (const Error& error) {
      if (in_parts || error.code() != Errc::does_not_fit) throw;
      in_parts = true;
      continue;
    }
    lock.unlock();
    visit(lease.tensors()[0].raw(), from - range.offset);
    from = end;
  }
}

void Parameters::copy_out(ParamId id, std::span<std::byte> to, const Range& range) {
  const std::int64_t element = width(dtype(id));
  for_each_part(id, range, true, [&](std::span<const std::byte> bytes, std::int64_t first) {
    std::memcpy(to.data() + first * element, bytes.data(), bytes.size());
  });
}

void Parameters::read_as(ParamId id, DType wanted, std::span<std::byte> to, Range range) {
  seal();
  poll_fences();
  const DType own = dtype(id);
  for_each_part(id, range, false, [&](std::span<const std::byte> bytes, std::int64_t first) {
    const std::size_t values = bytes.size() / static_cast<std::size_t>(width(own));
    widen(bytes, own,
          to.subspan(static_cast<std::size_t>(first * width(wanted)),
                     values * static_cast<std::size_t>(width(wanted))),
          wanted);
  });
}

// Takes the range, and starts: all whole blocks straight, the last one, if it is wanted in part or
// ends off the alignment, through a buffer of the pool.
void Parameters::read_straight(Lock& lock, Request& request, Intake& intake) {
  Part& part = request.hold->parts.front();
  Tensor& one = *part.tensor;
  const std::int64_t size = static_cast<std::int64_t>(intake.to.size());
  const bool odd = size % alignment_ != 0 || (part.offset + part.count != one.elements &&
                                              (part.offset + part.count) % block_ != 0);
  Blocks body = part.blocks;
  if (odd) --body.last;
  const std::int64_t tail_bytes = odd ? footprint(one, {body.last, body.last + 1}) : 0;
  for (;;) {
    Step why = Step::taken;
    const Copy* newest = covering(part);
    if (newest != nullptr && !newest->newer()) newest = nullptr;
    if (!one.live) throw_error(Errc::invalid_argument, "parameter \"{}\" was removed", one.name);
    if (conflicts(part, Access::read)) {
      why = Step::lease;
    } else if (must_wait_for_write(request) || (newest != nullptr && !newest->failed)) {
      why = Step::io;
    } else if (one.cached != nullptr || newest != nullptr) {
      // It came meanwhile, and may be newer than the store; or it cannot be written.
      const Range range = {part.offset, part.count};
      leave_queue(request);
      intake.hold = nullptr;
      undo(*std::exchange(request.hold, nullptr));  // `part` is gone
      moved_.notify_all();
      lock.unlock();
      copy_out(static_cast<ParamId>(one.id), intake.to, range);
      lock.lock();
      return;
    } else if (odd) {
      if (mine(request)) intake.run = take_run(tail_bytes, one.name, 1, 0);
      if (intake.run == nullptr) why = Step::memory;
    }
    if (why == Step::taken) break;
    wait_for(lock, request, why);
  }
  leave_queue(request);
  part.next = one.parts;
  one.parts = &part;
  part.linked = true;
  const auto start = [&](const Blocks& blocks, std::byte* data) {
    for_each_written_run(one, blocks, data,
                         [&](std::int64_t address, std::byte* to, std::int64_t space) {
                           depart(intake, address, to, space);
                         });
  };
  intake.body = body;
  start(body, intake.to.data());
  if (odd) start({body.last, body.last + 1}, intake.run->memory.data());
}

// Like that of a copy: what cannot be submitted has failed.
void Parameters::depart(Intake& intake, std::int64_t address, std::byte* data,
                        std::int64_t bytes) noexcept {
  Trip* trip = nullptr;
  ++intake.pending;
  try {
    trip = &new_trip();
    trip->intake = &intake;
    trip->movement.start(io::Op::read, address, data, bytes, io::Service::demand, intake_done,
                         trip);
  } catch (...) {
    intake.error = current_error(no_memory_);
    --intake.pending;
    if (trip != nullptr) end_trip(*trip);
  }
}

void Parameters::intake_done(store::Movement& movement, void* context) {
  Trip& trip = *static_cast<Trip*>(context);
  Parameters& self = *trip.owner;
  Lock lock(self.mutex_);
  Intake& intake = *trip.intake;
  if (movement.ok())
    self.stats_.bytes_read_into += movement.bytes();
  else if (!intake.error)
    intake.error = self.error_of(movement);
  self.end_trip(trip);
  --intake.pending;
  self.moved_.notify_all();
}

bool Parameters::ready(Intake& intake) {
  Lock lock(mutex_);
  return intake.hold == nullptr || intake.pending == 0;
}

void Parameters::wait(Intake& intake) {
  house_->check_process();
  Lock lock(mutex_);
  if (intake.hold == nullptr) {
    if (intake.error) throw Error(*intake.error);
    return;
  }
  Part& part = intake.hold->parts.front();
  Tensor& one = *part.tensor;
  if (!moved_.wait_until(lock, start_deadline(), [&] { return intake.pending == 0; }))
    throw_error(Errc::timeout, "\"{}\": waited {:.1f} s for parameter \"{}\" to be read; {}",
                options_.name, timeout_, one.name, house_->engine().describe_in_flight());
  if (!intake.error) {
    lock.unlock();  // the range is ours to read
    try {
      for (std::int64_t block = intake.body.first; block < intake.body.last; ++block)
        compare(one, block, intake.to.data() + (block - intake.body.first) * block_bytes(one));
      if (intake.run != nullptr) {
        const std::int64_t before = intake.body.count() * block_bytes(one);
        compare(one, intake.body.last, intake.run->memory.data());
        std::memcpy(intake.to.data() + before, intake.run->memory.data(),
                    intake.to.size() - static_cast<std::size_t>(before));
      }
    } catch (const Error& error) {
      intake.error = error;
    }
    lock.lock();
  } else {
    intake.error = unreadable(one, *intake.error);
  }
  if (intake.run != nullptr) give(std::exchange(intake.run, nullptr));
  undo(*std::exchange(intake.hold, nullptr));
  moved_.notify_all();
  if (intake.error) throw Error(*intake.error);
}

void Parameters::end(Intake* intake) noexcept {
  {
    Lock lock(mutex_);
    if (intake->hold != nullptr) {
      // The device writes into the engine's memory: there is no leaving before it is done.
      moved_.wait(lock, [&] { return intake->pending == 0; });
      if (intake->run != nullptr) give(intake->run);
      undo(*intake->hold);
      moved_.notify_all();
    }
  }
  delete intake;
}

}  // namespace spillway::swap
