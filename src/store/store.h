#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/engine.h"

#include "spillway/config.h"

namespace spillway::store {

/// A section: one state of one tile; the unit of I/O, of checksum and of the flip. Dense ids.
enum class SectionId : std::uint32_t {};
inline constexpr SectionId no_section{0xffffffffu};

struct StoreOptions {
  std::vector<std::filesystem::path> paths;
  std::vector<std::int64_t> weights;       ///< per path; empty: alike
  std::int64_t stripe_unit = 1024 * 1024;  ///< [bytes]
  bool checksums = true;
  Switch direct = Switch::automatic;
  std::int64_t alignment = 4096;  ///< [bytes] at least, whatever the paths ask for
};

/// There is no room for so much: on a disk, or in the memory that a file system keeps its data in.
/// Less might be had.
inline bool is_full(const Error& error) {
  return error.code() == Errc::no_space || error.code() == Errc::does_not_fit ||
         error.code() == Errc::out_of_memory;
}

/// The weights in force, one per path. Throws Error invalid_config: no paths, another number of
/// weights, a weight below 1, a stripe unit that is not positive.
std::vector<std::int64_t> checked_weights(const StoreOptions& options);

/// One path as it was found.
struct PathReport {
  std::string path;
  std::string directory;  ///< ours, under it
  std::string data_file;  ///< for others to open it by; only while it is open
  std::string file_system;
  bool direct = false;
  std::string how;               ///< proof or reason
  bool space_guaranteed = true;  ///< preallocated space cannot run out on overwrite
  std::string space_reason;      ///< why not
  bool memory = false;           ///< tmpfs: the plan counts it as memory
  std::int64_t alignment = 4096;
  std::int64_t allocated_bytes = 0;
  std::int64_t read_bytes = 0, written_bytes = 0;
  io::FileId file{};
};

class Store;

/// Moves several sections of one tile as one: done when all are, failed when one is. Made once
/// per buffer and used again and again; allocates only while it is made.
///
/// Life: clear(), add_...(), submit(), [callback on the I/O thread], then idle again. One owner at
/// a time; the owner keeps it alive until its callback has begun (for ever, if the engine was shut
/// down with its requests abandoned). The callback may clear, submit again or destroy it. A read
/// keeps the bytes that it reads in place, so it may run beside a write of the same section: it
/// gets what was there when it was submitted.
class Transfer {
 public:
  using Callback = void (*)(Transfer& transfer, void* context);

  Transfer(Store& store, int max_sections);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  void clear();
  /// Reads footprint(section) bytes to `to`. Requires written(section).
  void add_read(SectionId section, std::byte* to);
  /// Writes footprint(section) bytes from `from`, which Store::seal() has prepared just before, to
  /// a fresh slot. When every section of this transfer is on the device, all entries flip together
  /// (before the callback); when one fails, none does and the fresh slots are given back.
  void add_write(SectionId section, const std::byte* from, std::uint64_t seal);
  /// The same, for bytes whose checksum is still to be computed, beside the write: give_seal()
  /// tells it later. The padding is in order (Store::clear_padding()). Requires:
  /// Store::checksums().
  void add_unsealed_write(SectionId section, const std::byte* from);

  /// Throws Error: shut_down, forked, busy (all spares are between old and new: more tiles are
  /// being written than reserve() was told). Then it is idle and nothing has changed. What happens
  /// after that is told by the callback. `arrived` hears, also on the I/O thread, of every read
  /// section whose bytes are all there, before the callback.
  void submit(io::Service service, Callback callback, void* context, Callback arrived = nullptr);
  /// The seal of an unsealed write, once for each after submit(). The transfer does not end before
  /// it has them all, so this call may be its end: the callback then runs here, on this thread,
  /// and takes what locks it takes.
  void give_seal(SectionId section, std::uint64_t seal);
  void promote();  ///< a queued prefetch becomes a demand
  bool in_flight() const;
  /// True when all was still queued and is now taken back; its callback runs with `cancelled`.
  /// False: it goes on as if nothing had been asked.
  bool cancel();
  /// Compares a section that this transfer has read with what was in its place when it was
  /// submitted, even if it has been overwritten since. Throws Error corrupt naming file and offset.
  /// Requires: ok().
  void verify(SectionId section, const std::byte* data) const;
  /// Whether all bytes of a section that this transfer reads are there, be the others in flight.
  bool has_arrived(SectionId section) const;
  /// verify() for a section that has arrived, before the transfer has ended; false instead of an
  /// error, since what failed elsewhere may be the reason.
  bool matches(SectionId section, const std::byte* data) const noexcept;

  bool ok() const;
  bool cancelled() const;
  SectionId failed() const;
  /// Of the first failure: code, file, offset, length, mend. Requires !ok().
  Error error() const;
  std::int64_t bytes() const;  ///< of all its sections

 private:
  friend class Store;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Where sections lie under the nvme_paths.
///
/// Under each path a directory of our own (0700) holds one unlinked, preallocated data file
/// (0600). State is never overwritten in place: a write goes to a spare slot and the table flips
/// when it has succeeded, so that a section is old or new on disk whatever happens. Directories of
/// ours that a killed process left are swept; nobody else's are touched.
///
/// Threads: all members from any thread; Transfer's completion runs on the I/O thread.
class Store {
 public:
  /// Locks, sweeps, creates. Throws Error: not_found, permission_denied, invalid_config, no_space,
  /// io_error, unsupported, each naming the path. Nothing is left behind.
  Store(io::Engine& engine, const StoreOptions& options);
  /// Gives the space back and removes what it made. In a forked child it does nothing.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// What one section takes on disk and in a buffer: `bytes` rounded up to the alignment, plus,
  /// when checksums are off, a trailer of 4 KiB for each path that may hold a part of it.
  std::int64_t footprint(std::int64_t bytes) const;

  /// Reserves space for tiles.size() / sections_per_tile tiles, whose sections hold `tiles[i]`
  /// payload bytes (0: no section there; it gets an id that must not be used), plus spare slots so
  /// that `tiles_in_flight + 1` tiles can be written while their old sections live. Returns the
  /// first of the dense ids. Throws Error no_space naming the full path, the bytes needed and
  /// free; then nothing has changed. Reservations of one `owner` (a swapper) share their spares;
  /// owners that write at the same time need numbers of their own. Not from a callback.
  SectionId reserve(std::span<const std::int64_t> tiles, int sections_per_tile, int tiles_in_flight,
                    int owner = 0);
  /// Gives sections and their space back. Requires: no transfer touches them. Ids are not reused
  /// until the whole run that reserve() returned is released. Not from a callback.
  void release(SectionId first, std::int64_t count);

  bool written(SectionId section) const;
  /// Forgets the contents: not written any more; its slot is free. No I/O.
  void forget(SectionId section);
  std::int64_t payload_bytes(SectionId section) const;
  std::int64_t footprint(SectionId section) const;

  /// Prepares a section's buffer for writing, on the compute side: computes its checksum, or puts
  /// the trailer behind it. `data` has footprint(section) bytes. Returns the seal for add_write().
  std::uint64_t seal(SectionId section, std::byte* data) const;
  /// The two halves of seal() where checksums are on: what must be done before the bytes are
  /// written, and what may be done meanwhile.
  void clear_padding(SectionId section, std::byte* data) const;
  std::uint64_t checksum_of(SectionId section, const std::byte* data) const;

  std::int64_t alignment() const;
  /// [bytes] that are on the disk for us now, over all paths.
  std::int64_t allocated_bytes() const;
  std::vector<PathReport> report() const;
  bool checksums() const;

 private:
  friend class Transfer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace spillway::store
