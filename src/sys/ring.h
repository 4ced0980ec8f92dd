#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace spillway::sys {

/// One transfer as the ring takes it.
struct RingTransfer {
  bool write = false;
  bool dsync = false;  ///< RWF_DSYNC
  int fd = -1;
  int slot = -1;  ///< of add_file(); -1: by descriptor
  std::byte* data = nullptr;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;  ///< at most 2147479552: the kernel cuts off the rest in silence
  void* tag = nullptr;     ///< comes back with the result; not null
};
struct RingResult {
  void* tag = nullptr;
  std::int64_t result = 0;  ///< bytes moved, or -errno
};

/// An io_uring of one thread: the only door to liburing.
///
/// Threads: everything on the thread that called open() (SINGLE_ISSUER, DEFER_TASKRUN), except
/// wake(), which any thread may call while the object lives. A forked child gets none of the
/// descriptors.
class Ring {
 public:
  struct Options {
    unsigned depth = 64;     ///< transfers in flight, at most
    bool poll_wait = false;  ///< wait with poll(): valgrind hangs in io_uring_enter
  };

  explicit Ring(const Options& options);
  /// close(), if nobody did.
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Makes the ring with the best flags that this kernel takes, and sends a real NOP through it:
  /// seccomp filters may let setup pass and refuse enter. 0, or the errno of what was refused with
  /// `why` saying which call, and how to allow it.
  int open(std::string& why);
  /// "SINGLE_ISSUER", "DEFER_TASKRUN", "registered files", ...
  const std::vector<std::string>& features() const;
  /// What was refused but is not needed.
  const std::vector<std::string>& refusals() const;

  /// A slot for `fd`, or -1: no more slots, or none at all on this kernel.
  int add_file(int fd);
  void remove_file(int slot);

  /// Registers memory as fixed buffers of at most 1 GiB each. 0, or errno with `why` (for ENOMEM:
  /// need, limit and mend); then nothing of it is registered.
  int add_memory(std::span<std::byte> memory, std::string& why);
  void remove_memory(std::span<std::byte> memory);

  /// Queues a transfer for the next wait(). Requires: fewer than `depth` are in flight.
  void start(const RingTransfer& transfer);

  /// Sends what is queued and waits for a result, a wake() or `timeout_ns` (< 0: for ever; 0: not
  /// at all). 0, or the errno of a ring that can no longer be used.
  int wait(std::span<RingResult> into, std::size_t& count, std::int64_t timeout_ns);
  void wake() noexcept;

  /// Gives the ring back to the kernel. Transfers in flight go on until the device answers.
  void close() noexcept;
  /// After close(): true once the kernel has freed the ring, and so every transfer is over.
  ///
  /// Known by a pipe whose only write end lies in the ring's own file table: it is closed when the
  /// ring is freed, and the read end hangs up. Without registered files it is not known, and
  /// counts as true when nothing was in flight at close().
  bool gone(std::int64_t timeout_ns) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spillway::sys
