#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "io/engine.h"
#include "store/instance_directory.h"
#include "store/store.h"
#include "sys/process_fd.h"

#include "spillway/config.h"

namespace spillway::store {

/// The preallocated, nameless data file under one nvme_path.
///
/// Its space is allocated before it is used, so that a full disk is found when something is added
/// and not in the middle of a step. Threads: grow() and shrink() one at a time, not from a callback
/// of the engine; the rest from any thread.
class DataFile {
 public:
  /// Directory, file, probe, and its place in the engine. Throws Error; nothing is left.
  DataFile(io::Engine& engine, const std::string& nvme_path, const StoreOptions& options);
  /// Requires: no request on it is in flight.
  ~DataFile();
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;

  io::FileId id() const { return id_; }
  const std::string& name() const { return name_; }
  const std::string& nvme_path() const { return directory_.nvme_path(); }
  std::int64_t alignment() const { return report_.alignment; }
  std::int64_t size() const { return size_; }
  /// [bytes] that may still be allocated there.
  std::int64_t free_space() const;

  /// Allocates up to `size`. Throws Error no_space naming path, need and what is free (in memory
  /// also does_not_fit, out_of_memory), or io_error; then the file is as it was.
  void grow(std::int64_t size);
  /// Gives everything behind `size` back to the file system; logs where that fails.
  void shrink(std::int64_t size) noexcept;

  PathReport report() const;
  /// Removes the name and leaves the descriptor open for ever: the kernel may still write through
  /// it. The file is not destroyed after that.
  void abandon() noexcept { directory_.remove(); }

 private:
  void guarantee_space();
  void probe(const StoreOptions& options);
  int allocate(std::int64_t from, std::int64_t to);
  void no_guarantee(std::string reason);
  void require_memory(std::int64_t bytes) const;
  [[noreturn]] void throw_no_room(int error, std::int64_t size) const;

  io::Engine& engine_;
  InstanceDirectory directory_;  // outlives the descriptor: closed first, then removed
  std::string name_;
  sys::ProcessFd file_;
  PathReport report_;
  io::FileId id_{};
  bool allocates_ = true;  // fallocate works here
  std::atomic<std::int64_t> size_{0};
};

}  // namespace spillway::store
