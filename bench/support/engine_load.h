#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/engine.h"
#include "load.h"
#include "memory/pinned_region.h"
#include "sys/file.h"

namespace spillway::bench {

struct EngineLoadSettings {
  std::filesystem::path file;
  std::int64_t file_bytes = 0;  ///< a multiple of block_bytes
  std::int64_t block_bytes = 1024 * 1024;
  int depth = 8;
  EngineChoice engine = EngineChoice::automatic;
  bool huge_pages = true;
  Data data = Data::random;
};

/// Our engine, kept full with `depth` transfers of one block each, as fio keeps it: each completion
/// submits the next transfer from its callback. Reads and writes run through the file in order,
/// each on its own; mixed alternates.
class EngineLoad {
 public:
  /// Makes the file, preallocated, and fills all of it; reads it back and compares.
  /// Throws Error.
  explicit EngineLoad(const EngineLoadSettings& settings);
  ~EngineLoad();

  Sample run(Pattern pattern, double seconds);

  std::string engine() const { return engine_->report().engine; }
  std::vector<std::string> features() const { return engine_->report().features; }
  const std::string& direct_io() const { return direct_io_; }
  double huge_page_share() const;

 private:
  struct Slot;
  static void next(io::Request& request, void* slot);
  void start(Slot& slot);
  void fill_buffers();
  void fill_file();
  void check_file();
  void wait_for_all();

  EngineLoadSettings settings_;
  sys::UniqueFd fd_;
  std::string direct_io_;
  PinnedRegion memory_;
  std::unique_ptr<io::Engine> engine_;
  io::FileId file_{};
  std::vector<std::unique_ptr<Slot>> slots_;

  // Of one run; touched by the I/O thread only, but for the flag.
  std::atomic<bool> stop_{false};
  Pattern pattern_ = Pattern::read;
  std::int64_t position_[2] = {0, 0};  // by Op
  std::int64_t moved_[2] = {0, 0};
  bool write_is_next_ = false;
};

}  // namespace spillway::bench
