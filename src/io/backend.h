#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/piece.h"

namespace spillway::io {

/// What executes pieces: a ring, worker threads, or a test's device. Splitting, queueing, retries
/// and completion are the engine's; a back-end only moves bytes and says how many.
///
/// Threads: everything is called on the engine's I/O thread, except wake().
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;

  /// Called once, before everything else; at most `depth` pieces will be in flight. Adds to the
  /// report what it can do and what it was refused. 0, or the errno that makes it unusable, with
  /// `why` in words.
  virtual int open(std::int64_t depth, EngineReport& report, std::string& why) = 0;

  /// Accepts a piece; it starts at once or with the next reap(). The piece stays in place until
  /// it comes back from reap() or the back-end is closed.
  virtual void start(Piece& piece) = 0;

  /// Sends what was accepted, then waits until something has completed, wake() was called, or
  /// `timeout_ns` has passed (< 0: no limit; 0: does not wait). Fills `into` and sets `count`.
  /// 0, or the errno of a back-end that is lost for good: close() it.
  virtual int reap(std::span<Completion> into, std::size_t& count, std::int64_t timeout_ns) = 0;

  /// Ends the current or the next wait of reap(). From any thread, also after close().
  virtual void wake() noexcept = 0;

  /// Lets pieces refer to a file, until remove_file(). Refusal is not an error: slower is fine.
  virtual void add_file(DataFile& file) { static_cast<void>(file); }
  virtual void remove_file(DataFile& file) { static_cast<void>(file); }

  /// Registers memory so that pieces in it cost less. 0 or errno; then nothing is registered, and
  /// `why` says it in words.
  virtual int add_memory(std::span<std::byte> memory, std::string& why);
  virtual void remove_memory(std::span<std::byte> memory) { static_cast<void>(memory); }

  /// Gives up: accepts and returns nothing any more. Never blocks on the device. Transfers that
  /// it has begun may still touch memory until gone().
  virtual void close() noexcept = 0;

  /// After close(): true once no transfer of it can touch memory or file any more. Waits for that
  /// up to `timeout_ns` (>= 0).
  virtual bool gone(std::int64_t timeout_ns) noexcept = 0;

  /// What takes over when this one cannot be opened or is lost; null: nothing can.
  virtual std::unique_ptr<Backend> successor() { return nullptr; }
};

}  // namespace spillway::io
