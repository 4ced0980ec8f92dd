#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "io/engine.h"
#include "store/data_file.h"
#include "store/extent_map.h"
#include "store/store.h"
#include "store/stripe.h"

namespace spillway::store {

/// Bytes on one line, dealt over the data files of several paths by the stripe's unit: what is
/// neighbour in the volume is read as one. It is written in place; who owns an extent keeps its
/// checksums and its newest bytes until they are written.
///
/// Under each path it has a directory of its own, as a Store has, with the same promises: locked,
/// swept after a kill, private, preallocated, gone at the end.
///
/// Threads: add() and release() one at a time and not from a callback of the engine; the rest from
/// any thread.
class Volume {
 public:
  /// Throws Error as Store's constructor does. Nothing is left behind.
  Volume(io::Engine& engine, const StoreOptions& options);
  /// Gives the space back and removes what it made, unless movements are in flight (then their
  /// files stay open for ever). In a forked child it must not be called.
  ~Volume();
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  /// [bytes] Extents start and end on it.
  std::int64_t alignment() const { return alignment_; }
  /// The address of a new extent of `bytes` (a multiple of alignment(), > 0): behind the one added
  /// before, where nothing was released. Throws Error no_space (in a file system that keeps data in
  /// memory also does_not_fit, out_of_memory) naming the path, the bytes needed and free; then
  /// nothing has changed.
  std::int64_t add(std::int64_t bytes);
  /// Requires: nothing of it is in flight.
  void release(std::int64_t address, std::int64_t bytes) noexcept;
  /// Gives back what add() has allocated ahead of need.
  void trim();

  std::vector<PathReport> report() const;
  /// "offset 4096 of /mnt/nvme/.../data" for messages; of all files that hold a part of the bytes.
  std::string place(std::int64_t address, std::int64_t bytes) const;

  /// What `bytes` bytes that lie at `address` must still be when they are read: never 0. With
  /// checksums it is their hash. Without, it is a guard against a file that was truncated and has
  /// grown again (which reads as zeros): the last bytes of every part that lies on a path of its
  /// own, or all of the part where these are zeros anyway.
  std::uint64_t seal(std::int64_t address, const std::byte* data, std::int64_t bytes) const;

 private:
  friend class Movement;
  void grow_to(std::int64_t end);

  io::Engine& engine_;
  const bool checksums_;
  std::vector<std::unique_ptr<DataFile>> files_;
  std::int64_t alignment_ = 0;
  std::optional<Stripe> stripe_;

  mutable std::mutex mutex_;  // guards what follows; held during file calls
  ExtentMap free_;            // below end_
  std::int64_t end_ = 0;
  std::size_t extents_ = 0;     // out
  std::int64_t allocated_ = 0;  // of the line, in the files
  std::atomic<int> in_flight_{0};
};

/// One read or write of neighbouring bytes of a volume, from or to one place in memory. Used again
/// and again; allocates only while it grows.
///
/// Life: start(), [callback on the I/O thread], then idle again. The callback may start or destroy
/// it.
class Movement {
 public:
  using Callback = void (*)(Movement& movement, void* context);

  explicit Movement(Volume& volume) : volume_(volume) {}
  ~Movement();
  Movement(const Movement&) = delete;
  Movement& operator=(const Movement&) = delete;

  /// Makes sure that start() of up to `bytes` will not allocate.
  void reserve(std::int64_t bytes);
  /// Requires: idle; address, bytes and data on the volume's alignment. Throws Error: shut_down,
  /// forked; then it is idle.
  void start(io::Op op, std::int64_t address, std::byte* data, std::int64_t bytes,
             io::Service service, Callback callback, void* context);
  void promote();  ///< a queued prefetch becomes a demand
  bool in_flight() const { return in_flight_.load(std::memory_order_acquire); }

  bool ok() const { return ok_; }
  Error error() const;  ///< of the first failure. Requires: idle, not ok()
  std::int64_t bytes() const { return bytes_; }

 private:
  static void on_request(io::Request& request, void* context);

  Volume& volume_;
  std::deque<io::Request> requests_;  // in place: the engine knows them by address
  std::vector<io::Request*> batch_;
  std::int64_t bytes_ = 0;
  Callback callback_ = nullptr;
  void* context_ = nullptr;
  std::atomic<std::size_t> left_{0};
  std::atomic<io::Request*> first_failure_{nullptr};
  std::atomic<bool> in_flight_{false};
  bool ok_ = false;
};

}  // namespace spillway::store
