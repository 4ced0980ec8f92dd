#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "store/extent_map.h"
#include "store/size_pool.h"
#include "store/slot_table.h"
#include "store/store.h"
#include "store/stripe.h"

namespace spillway::store {

/// The books of a store: which sections there are, which slot holds each, and which bytes of the
/// data files are whose. It does no I/O: a reservation is planned here, the files are grown, and
/// then it is entered; so nothing has changed when the disk is full.
///
/// Not thread-safe; the store holds a lock around every call. plan(), enter() and release() are
/// moreover never called side by side: a plan is entered before the next one is made.
class Ledger {
 public:
  /// Requires: the stripe's unit is a multiple of `alignment`, and that of 4096.
  Ledger(Stripe stripe, std::int64_t alignment, bool trailers);

  /// [bytes] of a section's buffer: its body and its guards.
  std::int64_t footprint(std::int64_t payload) const;
  /// [bytes] of it that are dealt to the paths: the payload, its padding, and a trailer at its end.
  std::int64_t body(std::int64_t payload) const;
  const Stripe& stripe() const { return stripe_; }

  struct Section {
    enum class State : std::uint8_t { gone, absent, live };  // absent: an id without bytes
    std::int64_t payload = 0;
    std::uint64_t seal = 0;  // of what its slot holds
    SlotId slot = no_slot;
    std::uint32_t size_class = 0;
    State state = State::gone;
  };

  /// A reservation that is not in force yet.
  struct Plan {
    std::vector<std::int64_t> ends;  ///< [bytes] of each data file, once entered
   private:
    friend class Ledger;
    struct NewSlot {
      std::uint32_t size_class = 0;
      int rotation = 0;
    };
    std::vector<Section> sections;
    std::map<std::int64_t, std::uint32_t> new_classes;  // size -> index
    std::map<std::uint32_t, SizePool::Part> parts;      // by class
    std::vector<NewSlot> slots;
    std::vector<std::int64_t> offsets;  // slots x paths
    std::vector<ExtentMap> free;
    std::vector<std::int64_t> loads;
    int rotation = 0;
    int sections_per_tile = 1;
    int owner = 0;
  };
  /// See Store::reserve(). Throws Error: invalid_argument (a negative size), no_space (sizes or ids
  /// beyond what 62 or 32 bits count).
  Plan plan(std::span<const std::int64_t> tiles, int sections_per_tile, int tiles_in_flight,
            int owner) const;
  /// Brings `plan` into force, or throws std::bad_alloc and changes nothing. Requires: it is the
  /// last plan made, and nothing was released since.
  SectionId enter(Plan plan);
  /// Takes sections out of the books; the unused tail of each file is cut off `ends()`.
  void release(SectionId first, std::int64_t count) noexcept;
  /// [bytes] that each data file must have.
  const std::vector<std::int64_t>& ends() const { return ends_; }

  /// Requires: a live section (checked).
  const Section& section(SectionId id) const;
  bool written(SectionId id) const { return section(id).slot != no_slot; }
  /// The extents that hold a section, or a slot of its class.
  struct Place {
    SlotId slot = no_slot;
    std::int64_t body = 0;
  };
  /// Pins what the section's readers will read. Requires: written.
  Place start_read(SectionId id);
  void finish_read(SlotId slot) { slots_.unpin(slot); }
  /// A fresh slot; nullopt when all spares are between old and new.
  std::optional<Place> start_write(SectionId id);
  /// The flip: from now on the section lies in `slot`, and its old slot is free.
  void finish_write(SectionId id, SlotId slot, std::uint64_t seal);
  /// The write has failed: the section stays what it was.
  void abandon_write(SlotId slot) { slots_.give_back(slot); }
  void forget(SectionId id);

  const SlotTable& slots() const { return slots_; }
  /// A section of the largest footprint that ever was reserved takes at most this many requests.
  std::int64_t max_runs() const { return max_runs_; }

 private:
  // What one enter() made and release() takes back, wholly or in parts.
  struct Reservation {
    std::int64_t ids = 0;  // of the range, released ones included
    std::int64_t ids_left = 0;
    std::map<std::uint32_t, SizePool::Part> parts;
  };

  Section& live(SectionId id);
  std::uint32_t free_class(const Plan& plan) const;
  void sort_into_classes(Plan& plan, std::int64_t writable) const;
  void lay_out(Plan& plan) const;
  void trim() noexcept;
  void trim(std::uint32_t size_class);

  const Stripe stripe_;
  const std::int64_t alignment_;
  const bool trailers_;

  std::vector<Section> sections_;
  std::map<std::uint32_t, Reservation> reservations_;  // by first id
  ExtentMap free_ids_;
  std::vector<SizePool> classes_;
  std::map<std::int64_t, std::uint32_t> class_of_size_;  // of those in use
  SlotTable slots_;
  std::vector<ExtentMap> free_;  // by path: inside the file, but no slot's
  std::vector<std::int64_t> ends_;
  std::vector<std::int64_t> loads_;  // by path: [bytes] of all slots, free ones too
  int rotation_ = 0;                 // of the slot laid out last
  std::int64_t max_runs_ = 1;
};

}  // namespace spillway::store
