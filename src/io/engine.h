#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/histogram.h"
#include "io/request.h"

#include "spillway/config.h"
#include "spillway/error.h"

namespace spillway {
class Timeline;
}

namespace spillway::io {

class Backend;

struct EngineOptions {
  EngineChoice engine = EngineChoice::automatic;
  std::int64_t block_size =
      1024 * 1024;                ///< [bytes] requests are split into even parts of at most this
  std::int64_t queue_depth = 64;  ///< pieces in flight
  std::int64_t read_budget = 64 * 1024 * 1024;   ///< [bytes] in flight
  std::int64_t write_budget = 16 * 1024 * 1024;  ///< [bytes] in flight
  std::int64_t threads = 0;                      ///< of the thread engine; 0: chosen
  double retry_seconds = 10;                     ///< how long EAGAIN and its kind are retried
  bool poll_wait = false;    ///< wait with poll() instead of io_uring_enter (valgrind)
  double wait_timeout = 30;  ///< [s] default of wait()
};

/// A file as the engine sees it. The descriptor stays the caller's and outlives remove_file().
struct FileSpec {
  int fd = -1;
  std::string name;               ///< stands in messages: the path, or what it was before unlink
  std::int64_t alignment = 4096;  ///< of offsets, lengths and memory
  bool dsync = false;             ///< write with RWF_DSYNC (buffered files)
};

struct TransferStats {
  std::int64_t operations = 0;  ///< pieces
  std::int64_t bytes = 0;
  Histogram latency;  ///< [ns] of requests, from submit to done
};

struct EngineStats {
  TransferStats read, write;
  std::int64_t short_transfers = 0;
  std::int64_t retries = 0;
  std::int64_t errors = 0;          ///< requests that ended with one
  std::int64_t peak_in_flight = 0;  ///< pieces
  std::int64_t registered_bytes = 0;
};

/// What runs, and why: for the log, `doctor` and the benches.
struct EngineReport {
  std::string engine;                 ///< "io_uring" or "threads" (or a test's)
  std::vector<std::string> reasons;   ///< why not io_uring; which features were refused
  std::vector<std::string> features;  ///< "DEFER_TASKRUN", "fixed buffers", ...
};

struct ShutdownResult {
  bool clean = true;                   ///< nothing is in flight any more
  std::vector<std::string> abandoned;  ///< requests that the device never answered
};

/// Moves bytes between memory and files: splits, queues, retries, completes.
///
/// One I/O thread per engine; it keeps the device's queue full across requests. Every result is
/// compared with its request: a short transfer goes on at an aligned offset, EINTR at once, EAGAIN
/// with back-off; three times no progress ends it. A failed request does not disturb others.
///
/// Threads: all members may be called from any thread; what must not run in a callback says so.
class Engine {
 public:
  /// Probes once and starts the back-end that `options.engine` allows: io_uring, else threads with
  /// a reason. Throws Error: unsupported (io_uring demanded and refused), out_of_memory.
  static std::unique_ptr<Engine> open(const EngineOptions& options);
  /// Over a back-end of the caller's (tests).
  Engine(std::unique_ptr<Backend> backend, const EngineOptions& options);
  /// shutdown(10 s) if nobody did.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  FileId add_file(const FileSpec& spec);
  /// Requires: no request on it is queued or in flight.
  void remove_file(FileId file);
  const FileSpec& file(FileId file) const;

  /// Registers memory as fixed buffers where the back-end can (pieces of at most 1 GiB, ENOMEM
  /// retried for 20 ms). Returns the bytes registered; 0 with a reason in the report otherwise.
  std::int64_t add_memory(std::span<std::byte> memory);
  void remove_memory(std::span<std::byte> memory);

  /// Queues the batch in order, all or none. Throws Error: shut_down, invalid_argument (not idle
  /// or done, misaligned, empty).
  void submit(std::span<Request* const> batch);
  void submit(Request& request);

  /// True: it was still queued and is done now with `cancelled` (its callback has run or is about
  /// to, on the I/O thread). What is in flight cannot be taken back.
  bool cancel(Request& request);
  /// A queued prefetch becomes a demand. Anything else is left alone.
  void promote(Request& request);

  /// Waits until done. Throws Error timeout at `deadline`, listing what is in flight, and
  /// would_deadlock on the I/O thread. The request stays the engine's until it is done.
  void wait(Request& request, TimePoint deadline);
  void wait(Request& request);  ///< until options.wait_timeout
  bool poll(const Request& request) const { return request.state() == RequestState::done; }

  /// Runs `work` on the I/O thread, where all signals are blocked (fallocate and its kind would
  /// otherwise die of SIGXFSZ), and returns when it is done; what it throws is thrown here.
  /// Not from a callback (would_deadlock).
  void call(const std::function<void()>& work);

  /// The error of a request that is done and failed, with file, offset, length and the mend.
  Error error_of(const Request& request) const;
  /// "3 in flight: read 1.0 MiB at 4096 of /mnt/x (1.2 s), ..."; at most 16 are named.
  std::string describe_in_flight() const;

  /// Takes no more requests, cancels what is queued, waits for what is in flight until `timeout`
  /// [s], then gives the back-end up without freeing what the kernel may still write to: the
  /// caller must then keep (leak) the memory of those requests, and leave their files open.
  /// Idempotent.
  ShutdownResult shutdown(double timeout);

  /// Every request that ends from now on is added to `timeline`; null: none.
  void record(std::shared_ptr<Timeline> timeline);

  EngineReport report() const;
  EngineStats stats() const;
  /// Bytes moved on one file.
  TransferStats read_stats(FileId file) const;
  TransferStats write_stats(FileId file) const;

 private:
  friend class Condition;

  std::shared_ptr<class Core> core_;  // shared with the I/O thread, which may outlive us
  int owner_ = 0;
};

}  // namespace spillway::io
