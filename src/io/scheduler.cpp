#include "io/scheduler.h"

#include <algorithm>
#include <new>

#include "base/align.h"
#include "base/check.h"
#include "base/throw.h"

namespace spillway::io {

void PieceList::push_back(Piece& piece) {
  piece.next = nullptr;
  piece.previous = last_;
  (last_ != nullptr ? last_->next : first_) = &piece;
  last_ = &piece;
}
void PieceList::push_front(Piece& piece) {
  piece.previous = nullptr;
  piece.next = first_;
  (first_ != nullptr ? first_->previous : last_) = &piece;
  first_ = &piece;
}
void PieceList::remove(Piece& piece) {
  (piece.previous != nullptr ? piece.previous->next : first_) = piece.next;
  (piece.next != nullptr ? piece.next->previous : last_) = piece.previous;
  piece.next = piece.previous = nullptr;
}

std::int64_t next_piece_bytes(std::int64_t left, std::int64_t block, std::int64_t alignment) {
  const std::int64_t parts = divide_up(left, block);
  return std::min(left, align_up(divide_up(left, parts), alignment));
}

Scheduler::Scheduler(const EngineOptions& options)
    : block_size_(options.block_size),
      queue_depth_(options.queue_depth),
      budget_{options.read_budget, options.write_budget},
      max_records_(2 * options.queue_depth),
      pool_(sizeof(Piece), static_cast<std::size_t>(max_records_),
            static_cast<std::size_t>(max_records_)) {
  // The pool takes its one block from the heap when the first record is asked for: now.
  void* const first = pool_.malloc();
  if (first == nullptr)
    throw_error(Errc::out_of_memory, "no memory for {} I/O records; lower io.queue_depth",
                max_records_);
  pool_.free(first);
}

std::int64_t Scheduler::piece_limit(std::int64_t alignment) const {
  return std::max(alignment, align_down(std::min(block_size_, max_piece_bytes), alignment));
}

void Scheduler::push(Request& request) { queues_[index(request.service)].push_back(request); }

bool Scheduler::withdraw(Request& request) {
  if (request.state() != RequestState::queued || request.cut_ == request.bytes) return false;
  request.list_->remove(request);
  request.cut_ = request.bytes;  // taken back once
  return true;
}

void Scheduler::promote(Request& request) {
  // What is cut to the end has left the queue, and may be in the hands of run_callbacks(), which
  // takes its links without the mutex.
  if (request.cut_ == request.bytes) return;
  if (!queues_[index(Service::prefetch)].holds(request)) return;
  queues_[index(Service::prefetch)].remove(request);
  request.service = Service::demand;
  queues_[index(Service::demand)].push_back(request);
}

void Scheduler::withdraw_all(RequestList& into) {
  for (RequestList& queue : queues_) {
    Request* at = queue.front();
    while (at != nullptr) {
      Request* const next = RequestList::after(*at);
      if (withdraw(*at)) into.push_back(*at);
      at = next;
    }
  }
}

bool Scheduler::room_for(Op op, std::int64_t bytes) const {
  const std::int64_t flying = flying_bytes_[index(op)];
  return flying == 0 || flying + bytes <= budget_[index(op)];
}

Piece* Scheduler::next() {
  if (in_flight_ >= queue_depth_) return nullptr;
  // What a demand has no room for, nothing less urgent may take from under it.
  std::array<bool, 2> closed{};
  Piece* piece = take(Service::demand, closed);
  if (piece == nullptr) {
    const Service turn = write_is_next_ ? Service::write : Service::prefetch;
    const Service other = write_is_next_ ? Service::prefetch : Service::write;
    std::array<bool, 2> closed_by_turn = closed;
    piece = take(turn, closed_by_turn);
    if (piece != nullptr) {
      write_is_next_ = !write_is_next_;
    } else {
      piece = take(other, closed);
    }
  }
  if (piece == nullptr) return nullptr;
  flying_.push_back(*piece);
  flying_bytes_[index(piece->op)] += piece->bytes;
  ++in_flight_;
  peak_in_flight_ = std::max(peak_in_flight_, in_flight_);
  return piece;
}

Piece* Scheduler::take(Service service, std::array<bool, 2>& closed) {
  PieceList& ready = ready_[index(service)];
  if (Piece* const piece = ready.front(); piece != nullptr) {
    if (!closed[index(piece->op)] && room_for(piece->op, piece->bytes)) {
      ready.remove(*piece);
      return piece;
    }
    closed[index(piece->op)] = true;
  }
  Request* const request = queues_[index(service)].front();
  if (request == nullptr || records_ == max_records_) return nullptr;
  const std::int64_t alignment = request->at_->spec.alignment;
  const std::int64_t bytes =
      next_piece_bytes(request->bytes - request->cut_, piece_limit(alignment), alignment);
  if (closed[index(request->op)] || !room_for(request->op, bytes)) {
    closed[index(request->op)] = true;
    return nullptr;
  }
  return cut(*request, bytes);
}

Piece* Scheduler::cut(Request& request, std::int64_t bytes) {
  void* const memory = pool_.malloc();
  SPILLWAY_CHECK(memory != nullptr, "the pool of I/O records is smaller than it said");
  ++records_;
  auto* const piece = new (memory) Piece;
  piece->request = &request;
  piece->file = request.at_;
  piece->op = request.op;
  piece->service = request.service;
  piece->data = request.data + request.cut_;
  piece->offset = request.offset + request.cut_;
  piece->bytes = bytes;
  piece->at = request.cut_;
  request.cut_ += bytes;
  ++request.pieces_;
  request.state_.store(RequestState::in_flight, std::memory_order_release);
  if (request.cut_ == request.bytes) {
    request.list_->remove(request);
    active_.push_back(request);
  }
  return piece;
}

void Scheduler::land(Piece& piece) {
  flying_.remove(piece);
  flying_bytes_[index(piece.op)] -= piece.bytes;
  --in_flight_;
}

void Scheduler::again(Piece& piece) { ready_[index(piece.service)].push_front(piece); }

void Scheduler::again_at(Piece& piece, std::int64_t due_ns) {
  piece.due_ns = due_ns;
  waiting_.push_back(piece);
}

void Scheduler::release(Piece& piece) {
  --piece.request->pieces_;
  --records_;
  piece.~Piece();
  pool_.free(&piece);
}

void Scheduler::stop(Request& request) {
  if (!active_.holds(request)) {
    request.outcome_.done = std::min(request.outcome_.done, request.cut_);
    request.list_->remove(request);
    request.cut_ = request.bytes;
    active_.push_back(request);
  }
  const auto forget = [&](PieceList& list) {
    for (Piece* piece = list.front(); piece != nullptr;) {
      Piece* const next = piece->next;
      if (piece->request == &request) {
        request.outcome_.done = std::min(request.outcome_.done, piece->at);
        list.remove(*piece);
        release(*piece);
      }
      piece = next;
    }
  };
  for (PieceList& list : ready_) forget(list);
  forget(waiting_);
}

void Scheduler::retire(Request& request) { active_.remove(request); }

void Scheduler::restart_all() {
  while (Piece* const piece = flying_.front()) {
    land(*piece);
    piece->request->held_ = true;
    ready_[index(piece->service)].push_back(*piece);
  }
}

void Scheduler::wake_due(std::int64_t now_ns) {
  for (Piece* piece = waiting_.front(); piece != nullptr;) {
    Piece* const next = piece->next;
    if (piece->due_ns <= now_ns) {
      waiting_.remove(*piece);
      ready_[index(piece->service)].push_back(*piece);
    }
    piece = next;
  }
}

std::int64_t Scheduler::next_due() const {
  std::int64_t due = -1;
  for (const Piece* piece = waiting_.front(); piece != nullptr; piece = piece->next)
    if (due < 0 || piece->due_ns < due) due = piece->due_ns;
  return due;
}

}  // namespace spillway::io
