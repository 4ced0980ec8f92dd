#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "memory/buffer_pool.h"
#include "store/store.h"
#include "swap/layout.h"
#include "swap/table.h"

#include "spillway/optimizer_swapper.h"

namespace spillway::swap {

class Swapper;

/// What happens to the tile that a lease stands for. Changed by the swapper alone, under its mutex.
enum class LeaseState : std::uint8_t {
  free,
  reading,  // the device fills the buffer
  ready,    // filled (or `error` says why not), waiting for next()
  leased,   // with the engine
  writing,  // committed, the device empties the buffer
  failed,   // committed, could not be written; the bytes here are the only ones
};

/// The place of one tile between table and engine: a buffer and the I/O on it, or, for a resident
/// tile, its home. Made at seal, used again and again.
struct Lease {
  Swapper* swapper = nullptr;
  std::int32_t index = no_lease;
  bool resident = false;

  LeaseState state = LeaseState::free;
  bool claimed = false;  // a thread in next() waits for it
  bool given = false;    // the engine has seen its slices
  PassState* pass = nullptr;
  std::uint32_t tile = 0;
  BufferLease memory;
  std::array<std::byte*, max_states> section{};  // where each state starts
  std::uint32_t reads = 0;                       // states that were read from the store
  std::uint32_t verified = 0;                    // of them, those whose checksums were right
  std::uint32_t writes = 0;                      // states on their way to it
  // States that have never been written, with first values that come from parameters; and those of
  // them that were left undefined, because this pass only writes them.
  std::uint32_t sourced = 0, unfilled = 0;
  std::array<std::uint64_t, max_states> seals{};
  bool sealed = false;          // these are those of `writes`
  bool owes_seals = false;      // its write has begun without them and waits for them
  int attempts = 0;             // of the write
  Lease* next_write = nullptr;  // committed behind this one, and not with the device yet
  std::optional<Error> error;
  std::unique_ptr<store::Transfer> transfer;

  std::vector<Slice> slices;                              // what the engine sees
  std::vector<std::uint32_t> slice_index;                 // of each, in its unit
  std::atomic<std::uint32_t> mutated{0};                  // states that the engine took to change
  std::unique_ptr<std::atomic<std::uint32_t>[]> touched;  // the same, slice by slice
  std::uint32_t touched_size = 0;
  std::byte* undo = nullptr;  // old bytes of a resident tile, laid out as in a full tile
  bool undo_valid = false;
  std::vector<std::unique_ptr<Attachment>> attachments;
  TimePoint handed_out{};
  double checksum_seconds = 0;
};

/// One pass, from begin() until nothing of it is in flight or held.
struct PassState {
  std::optional<std::int64_t> step;
  std::uint32_t read = 0, write = 0;  // states
  bool every_parameter = true;
  std::vector<bool> chosen;  // by parameter, unless every one is
  // Of the chosen parameter, only slices that meet these elements (write_state).
  std::int64_t from = 0, to = INT64_MAX;
  std::vector<UnitId> units;
  std::uint32_t first_tile = 0;  // only tiles from here on (initial values of new ones)
  bool sealing = false;          // it writes the initial values

  struct Cursor {
    std::size_t unit = 0, tile = 0;
    bool operator<(const Cursor& other) const {
      return unit != other.unit ? unit < other.unit : tile < other.tile;
    }
  };
  Cursor hand;   // the next tile for next()
  Cursor ahead;  // the next tile to read
  Cursor asked;  // the next tile whose sources are to be prefetched

  int held = 0, reading = 0, writing = 0;
  bool closed = false;     // its Run is gone
  bool draining = false;   // close() waits on this thread and will finish it
  bool exhausted = false;  // next() has come to the end
  bool settled = false;    // its units are free again; only the Run still knows it
  bool committed = false;  // at least one tile was
  std::optional<Error> error;
  bool torn = false;  // a tile was dropped half changed
  std::vector<Slice> upcoming;

  // Nobody pulls it or holds a tile of it any more; it lasts until its I/O is over.
  bool left() const { return (closed || exhausted) && held == 0; }
};

}  // namespace spillway::swap
