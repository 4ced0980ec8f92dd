#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace spillway {

/// What a stretch of time was spent on.
enum class Activity : std::uint8_t {
  read,     ///< one request: a block of a load, a section of a tile
  write,    ///< the same
  compute,  ///< the engine's own work on a tile
  wait,     ///< the engine waited for a tile
};

struct Span {
  Activity activity = Activity::read;
  std::int64_t begin_ns = 0, end_ns = 0;  ///< as Timeline::now_ns() counts
  std::int64_t bytes = 0;
  std::int64_t offset = 0;  ///< [bytes] in its file; of reads and writes
};

/// Who did what when, kept in a bounded buffer that is allocated once: what happens after it is
/// full is counted and not kept. Reads and writes are added by the context that records into it
/// (Context::record); compute and waits by whoever owns the loop.
///
/// Costs one short lock per span, and nothing where nobody records. Threads: all members from any.
class Timeline {
 public:
  explicit Timeline(std::size_t capacity);

  void add(const Span& span) noexcept;
  /// Everything kept so far, in the order of the ends; then it is empty, and keeps again.
  std::vector<Span> take();
  /// Spans that found no room since the last take().
  std::int64_t dropped() const;

  /// [ns] of the clock that spans are told in: CLOCK_MONOTONIC, the same for all processes.
  static std::int64_t now_ns() noexcept;

 private:
  mutable std::mutex mutex_;
  std::vector<Span> spans_;  // never beyond its capacity
  std::size_t capacity_;
  std::int64_t dropped_ = 0;
};

}  // namespace spillway
