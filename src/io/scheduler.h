#pragma once

#include <boost/pool/pool.hpp>

#include <array>
#include <cstdint>
#include <vector>

#include "io/lists.h"
#include "io/piece.h"

namespace spillway::io {

/// Pieces, linked through themselves.
class PieceList {
 public:
  bool empty() const { return first_ == nullptr; }
  Piece* front() const { return first_; }
  void push_back(Piece& piece);
  void push_front(Piece& piece);
  void remove(Piece& piece);

 private:
  Piece* first_ = nullptr;
  Piece* last_ = nullptr;
};

/// [bytes] of the next piece of what is left of a request: even parts of at most `block`, each a
/// multiple of `alignment`. 5 pages in blocks of 4 are cut 3 + 2, not 4 + 1.
std::int64_t next_piece_bytes(std::int64_t left, std::int64_t block, std::int64_t alignment);

/// Decides what the device does next.
///
/// Three FIFO queues: demand before everything; prefetch and write take turns, so that neither
/// starves. Pieces are cut when there is room for them: at most `queue_depth` in flight, and per
/// direction at most a budget of bytes (one piece is always allowed). Pieces that wait for a retry
/// take neither depth nor budget, so that they do not hold up others.
///
/// Not thread-safe: the engine's mutex guards it.
class Scheduler {
 public:
  /// Allocates all the piece records there will ever be: twice `queue_depth`.
  explicit Scheduler(const EngineOptions& options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void push(Request& request);
  /// Takes back a request of which nothing was cut yet. False: too late.
  bool withdraw(Request& request);
  /// Moves what is not cut yet of a prefetch to the demand queue.
  void promote(Request& request);
  /// Takes back all requests of which nothing was cut yet.
  void withdraw_all(RequestList& into);

  /// The next piece to start, now counted as in flight; null: no room, or nothing to do.
  Piece* next();
  /// Takes a piece out of flight, whatever its result. It is the caller's until one of:
  void land(Piece& piece);
  void again(Piece& piece);                          ///< start it before anything of its class
  void again_at(Piece& piece, std::int64_t due_ns);  ///< not before `due_ns`
  void release(Piece& piece);                        ///< its part of the request is over

  /// Cuts no more of a request and forgets its pieces that are not in flight.
  void stop(Request& request);
  /// Takes a request that is over out of the lists.
  void retire(Request& request);
  /// Takes all pieces out of flight, to be started again; marks their requests as held.
  void restart_all();
  /// Moves pieces whose time has come back to their queues.
  void wake_due(std::int64_t now_ns);
  /// [ns] when the next one is due; -1: none.
  std::int64_t next_due() const;

  std::int64_t in_flight() const { return in_flight_; }
  std::int64_t peak_in_flight() const { return peak_in_flight_; }
  std::int64_t piece_limit(std::int64_t alignment) const;

  /// Calls `visit(request)` for each of which something was cut, oldest last submitted last.
  template <typename Visit>
  void visit_started(Visit visit) const {
    for (const RequestList* list : {&active_, &queues_[0], &queues_[1], &queues_[2]})
      for (Request* at = list->front(); at != nullptr; at = RequestList::after(*at))
        if (at->state() == RequestState::in_flight) visit(*at);
  }

 private:
  bool room_for(Op op, std::int64_t bytes) const;
  Piece* take(Service service, std::array<bool, 2>& closed);
  Piece* cut(Request& request, std::int64_t bytes);
  static std::size_t index(Op op) { return static_cast<std::size_t>(op); }
  static std::size_t index(Service service) { return static_cast<std::size_t>(service); }

  const std::int64_t block_size_;
  const std::int64_t queue_depth_;
  const std::array<std::int64_t, 2> budget_;  // [bytes] by Op

  std::array<RequestList, 3> queues_;           // by Service: something is left to cut
  RequestList active_;                          // all cut, or stopped; pieces under way
  std::array<PieceList, 3> ready_;              // by Service: to be started again
  PieceList waiting_;                           // for their due time
  PieceList flying_;                            // with the back-end
  std::array<std::int64_t, 2> flying_bytes_{};  // by Op
  std::int64_t in_flight_ = 0;
  std::int64_t peak_in_flight_ = 0;
  std::int64_t records_ = 0;  // pieces that exist
  const std::int64_t max_records_;
  bool write_is_next_ = false;  // whose turn it is, of prefetch and write
  boost::pool<> pool_;
};

}  // namespace spillway::io
