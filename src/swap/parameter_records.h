#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "memory/buffer_pool.h"
#include "store/volume.h"

#include "spillway/parameter_swapper.h"

namespace spillway::swap {

class Parameters;
struct Copy;
struct Hold;
struct Part;

/// Blocks [first, last) of a tensor: a block is so many elements that it begins and ends on the
/// store's alignment whatever the dtype, and the unit of checksums and of exclusion.
struct Blocks {
  std::int64_t first = 0, last = 0;
  std::int64_t count() const { return last - first; }
  bool empty() const { return first >= last; }
  bool meets(const Blocks& other) const { return first < other.last && other.first < last; }
  bool covers(const Blocks& other) const { return first <= other.first && other.last <= last; }
  /// The least blocks that cover both.
  Blocks hull(const Blocks& other) const {
    if (empty()) return other;
    if (other.empty()) return *this;
    return {first < other.first ? first : other.first, last > other.last ? last : other.last};
  }
  bool operator==(const Blocks&) const = default;
};

/// One parameter. In place for ever; its seals are written only by who holds the blocks
/// exclusively, and read only by who holds them or reads them from the store.
struct Tensor {
  std::string name;
  std::int64_t elements = 0;
  std::uint64_t tag = 0;
  std::int64_t address = -1;  // in the volume; -1: it has no place there
  std::byte* home = nullptr;  // devices none and cpu
  Copy* cached = nullptr;     // in the CPU cache, or on its way there: all of it
  Copy* copies = nullptr;     // in pool buffers
  Part* parts = nullptr;      // of leases
  std::unique_ptr<std::uint64_t[]> many_seals;
  std::uint64_t one_seal = 0;
  std::uint32_t id = 0;
  UnitId unit{};
  DType dtype = DType::f32;
  bool live = true;
  bool adopted = false;
  bool written = false;  // some of it, ever

  std::uint64_t* seals() { return many_seals ? many_seals.get() : &one_seal; }
};

/// A run of the pool that one or several copies lie in.
struct PoolRun {
  BufferLease memory;
  std::vector<Copy*> members;
  std::uint64_t last_use = 0;
  bool wanted = false;  // somebody asked for it, and has not come yet

  bool idle() const;  // nobody uses any of them
};

/// Some blocks of a tensor in memory.
///
/// In the cache: the whole tensor, shared, perhaps newer than the store (`dirty`). In the pool:
/// clean ones are shared and go when their place is needed; one being changed belongs to its lease
/// and is not in the tensor's list; committed ones are in the list until they are written, and
/// clean ones from then on. The device looks at what is written until the end: what is committed to
/// a copy in the cache meanwhile waits beside it (`late`), and fetches wait for both.
struct Copy {
  Tensor* tensor = nullptr;
  Blocks blocks;
  std::byte* data = nullptr;
  PoolRun* run = nullptr;  // null: in the cache
  Copy* next = nullptr;    // of its tensor, in the pool
  int users = 0;           // leases, movements, threads that look at it, a write that must come
  int reading = 0;         // movements under way into it, or not compared yet
  std::int64_t right = 0;  // blocks that were compared on arrival, or need not be, until it is here
  int changing = 0;        // commits that copy into it: in the cache
  Copy* late = nullptr;    // in the cache: what was committed while this was being written
  bool writing = false;
  bool movable = false;          // in the cache: nobody looks at it, though it is used
  bool checked = false;          // compared with its seals
  bool checking = false;         // a thread is about to
  bool ahead = false;            // read ahead, and no lease has used it yet
  std::int64_t waiting = 0;      // [bytes] of it in stats.bytes_read_ahead
  bool failed = false;           // its last write did
  bool queued = false;           // its write must wait: for an older one, or for a commit
  bool gone = false;             // superseded or useless: freed when nobody uses it
  int attempts = 0;              // of the write
  std::uint64_t retried_in = 0;  // the fetch in whose way its failed write was tried again
  Blocks dirty;                  // newer than the store
  std::optional<Error> error;    // of the read, or of the write

  bool coming() const { return reading > 0; }
  bool read_failed() const { return error && !failed; }
  bool newer() const { return !dirty.empty() || writing; }  // than the store
  // By whoever asks, alone: no other lease, and nothing under way into it or out of it.
  bool used_once() const { return users == 1; }
};

inline bool PoolRun::idle() const {
  return std::all_of(members.begin(), members.end(),
                     [](const Copy* copy) { return copy->users == 0; });
}

/// What a lease has of one tensor.
struct Part {
  Hold* hold = nullptr;
  Tensor* tensor = nullptr;
  Part* next = nullptr;  // of its tensor
  Blocks blocks;
  std::int64_t offset = 0, count = 0;  // [elements]
  Copy* shared = nullptr;              // read from, or (exclusive) to be changed at commit
  Copy* own = nullptr;                 // exclusive: the lease's own
  Copy* found = nullptr;               // in the pool, while the rest is claimed
  bool takes_over = false;             // `found` becomes its own
  bool exclusive = false;
  bool linked = false;
  bool refused = false;  // by the cache, for this access
  bool must = false;     // the cache has to hold it: the pool cannot
  bool unread = false;   // `shared` has its place, and its read is still to be started
  bool late = false;     // its commit: `shared` is being written
};

/// A lease, from the taking of its memory to its return. Used again and again.
struct Hold {
  Parameters* owner = nullptr;
  Access access = Access::read;
  std::vector<Part> parts;
  std::vector<View> views;
  Fence fence;
  Hold* next = nullptr;  // in the list of free or of fenced ones
};

/// One read or write under way, over neighbouring copies or a part of one.
struct Trip {
  explicit Trip(store::Volume& volume) : movement(volume) {}
  store::Movement movement;
  Parameters* owner = nullptr;
  std::vector<Copy*> copies;
  Blocks blocks;                     // of the one copy; empty: all of all copies
  bool ahead = false;                // read before anybody needs it
  bool awaited = false;              // somebody needs it now
  Intake* intake = nullptr;          // or into the engine's memory
  std::vector<std::uint64_t> seals;  // that it is compared with
  Trip* next = nullptr;              // in the list of free ones, or of those to be checked
};

/// A read_into() under way.
struct Intake {
  Parameters* owner = nullptr;
  Hold* hold = nullptr;  // its lock; null: all is done
  std::span<std::byte> to;
  Blocks body;             // that come straight
  PoolRun* run = nullptr;  // for the block behind them
  int pending = 0;
  std::optional<Error> error;
};

}  // namespace spillway::swap
