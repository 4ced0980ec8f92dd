#pragma once

#include "io/piece.h"
#include "memory/poison.h"

#ifdef SPILLWAY_ASAN
#include <vector>
#endif

namespace spillway::io {

/// Keeps the memory of reads poisoned for AddressSanitizer while the kernel owns it.
///
/// Sanitizers see no write by the kernel, so that a buffer which is looked at before its read has
/// ended, or given to somebody else meanwhile, goes unnoticed. Poisoned, the touch itself is
/// reported. Without AddressSanitizer it is nothing. (Writes are not marked: what is on its way to
/// the disk may be looked at.)
class ReadsInFlight {
 public:
#ifdef SPILLWAY_ASAN
  ReadsInFlight() { pieces_.reserve(usual_depth); }  // no allocation while requests are started
#endif
  ~ReadsInFlight() { forget(); }

  void started([[maybe_unused]] const Piece& piece) {
#ifdef SPILLWAY_ASAN
    if (piece.op != Op::read) return;
    pieces_.push_back(&piece);
    poison(piece.data, piece.bytes);
#endif
  }
  /// Before anything of the piece changes.
  void ended([[maybe_unused]] const Piece& piece) {
#ifdef SPILLWAY_ASAN
    if (piece.op != Op::read) return;
    std::erase(pieces_, &piece);
    unpoison(piece.data, piece.bytes);
#endif
  }
  /// All of them are somebody else's now: the ring is gone, or left to itself.
  void forget() noexcept {
#ifdef SPILLWAY_ASAN
    for (const Piece* piece : pieces_) unpoison(piece->data, piece->bytes);
    pieces_.clear();
#endif
  }

 private:
#ifdef SPILLWAY_ASAN
  static constexpr std::size_t usual_depth = 1024;
  std::vector<const Piece*> pieces_;
#endif
};

}  // namespace spillway::io
