#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "store/data_file.h"
#include "store/ledger.h"
#include "store/seal.h"
#include "store/store.h"

namespace spillway::store {

/// Behind Store, and shared with its transfers.
struct Store::Impl {
  Impl(io::Engine& engine, const StoreOptions& options);

  /// Throws Error forked in another process than the one that made the store: there its locks,
  /// files and the I/O thread are gone.
  void require_our_process() const;
  bool in_our_process() const;

  /// What a reader must find in a section: taken when the read starts.
  struct Expected {
    SealInput input;
    std::uint64_t seal = 0;
    std::int64_t offset = 0;  ///< [bytes] of its first byte in `path`'s file
    int path = 0;
    int rotation = 0;
  };
  /// Requires: lock held, written.
  Expected expected(SectionId section) const;
  /// Requires: lock held.
  SealInput seal_input(SectionId section) const;
  /// The same with its own lock, and the check for our process.
  SealInput taken_seal_input(SectionId section) const;
  /// What is wrong, or empty.
  std::string difference(const Expected& expected, const std::byte* data) const;
  void compare(const Expected& expected, const std::byte* data) const;

  io::Engine& engine;
  const bool checksums;
  const int process;
  const std::uint64_t instance;  // stands in every trailer
  std::vector<std::unique_ptr<DataFile>> files;
  std::int64_t alignment = 0;
  const Error no_memory;  // made while there is some

  // Held through a whole reserve() or release(), file calls included. The other one is
  // never held while waiting for the I/O thread, whose completions take it.
  std::mutex shape;
  mutable std::mutex mutex;  // guards what follows
  std::unique_ptr<Ledger> ledger;
  int transfers = 0;  // in flight

  std::atomic<std::uint64_t> next_number{1};  // of a trailer

  /// Keeps it for ever, in sight of leak checkers. Allocates nothing: a forked child comes here.
  static void keep(std::unique_ptr<Impl> impl) noexcept;
  Impl* next_kept = nullptr;
};

}  // namespace spillway::store
