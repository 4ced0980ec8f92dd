#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace spillway::io {

enum class Op : std::uint8_t { read, write };

/// Order of service: demand reads first; prefetches and writes share what is left, each within
/// its budget.
enum class Service : std::uint8_t { demand, prefetch, write };

enum class FileId : std::uint32_t {};

enum class RequestState : std::uint8_t { idle, queued, in_flight, done };

/// How a request ended.
struct Outcome {
  int error = 0;             ///< errno; 0: every byte moved
  bool cancelled = false;    ///< taken back before it started (error is ECANCELED)
  bool no_progress = false;  ///< three attempts in a row moved nothing (read: the file is short)
  std::int64_t done = 0;     ///< [bytes] moved from the front without a gap
};

class Engine;
class RequestList;
struct DataFile;

/// One transfer between memory and a file. The owner fills in the public fields while it is idle,
/// keeps it in place and alive from submit to done, and may use it again after that. The engine
/// allocates nothing for it.
class Request {
 public:
  /// Runs on the I/O thread, one at a time per engine; may submit, must not wait (checked). What
  /// it throws is logged and becomes the request's error (EIO). The request is done when it begins
  /// and the engine touches it no more (unless it throws), so that it may be submitted again or
  /// given away there; Engine::wait() also waits for the callback to return.
  using Callback = void (*)(Request& request, void* context);

  Op op = Op::read;
  Service service = Service::demand;
  FileId file{};
  std::int64_t offset = 0;    ///< [bytes] a multiple of the file's alignment
  std::byte* data = nullptr;  ///< on the file's alignment
  std::int64_t bytes = 0;     ///< > 0; a multiple of the file's alignment
  Callback callback = nullptr;
  void* context = nullptr;

  RequestState state() const { return state_.load(std::memory_order_acquire); }
  /// Requires: done.
  const Outcome& outcome() const { return outcome_; }

 private:
  friend class Engine;
  friend class Core;
  friend class Scheduler;
  friend class RequestList;
  std::atomic<RequestState> state_{RequestState::idle};
  Outcome outcome_;
  Request* next_ = nullptr;  // in one of the engine's queues
  Request* previous_ = nullptr;
  RequestList* list_ = nullptr;  // that queue
  DataFile* at_ = nullptr;
  std::int64_t cut_ = 0;     // [bytes] handed out as pieces; all of them once out of its queue
  std::int32_t pieces_ = 0;  // of these, still under way
  std::int64_t submitted_ns_ = 0;
  std::int64_t started_ns_ = 0;  // its first piece left for the device; 0: not yet
  bool held_ = false;            // a lost back-end may still move its bytes
};

}  // namespace spillway::io
