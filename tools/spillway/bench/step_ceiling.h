#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bench/fio.h"
#include "bench/huge_pages.h"

#include "spillway/path_load.h"

namespace spillway::steps {

/// What the paths give a step at best: half reads and half writes, 1 MiB blocks, eight in flight
/// on each path, from huge pages, through files made as a swapper makes them.
class Ceiling {
 public:
  /// `wish`: auto, fio, engine, none. Makes and fills the files. Throws Error: not_found (fio), and
  /// what PathLoad throws.
  Ceiling(const std::string& wish, const std::vector<std::filesystem::path>& paths,
          std::int64_t file_bytes, LoadFill fill, const IoConfig& io);

  bool measured() const { return load_ != nullptr; }
  /// "fio-3.33 with io_uring, ...", "engine", "none".
  std::string source() const;
  /// Its files' paths, with the proof of direct I/O; empty where nothing is measured.
  std::vector<PathStats> paths() const { return load_ ? load_->paths() : std::vector<PathStats>(); }
  /// What makes it no ceiling; empty when nothing does.
  const std::string& doubt() const { return doubt_; }
  /// [bytes per second] reads and writes together, over `seconds`. Requires measured().
  double measure(double seconds);

 private:
  std::unique_ptr<PathLoad> load_;
  std::unique_ptr<tool::HugePages> huge_pages_;
  std::unique_ptr<tool::Fio> fio_;
  tool::FioRun run_;
  std::string doubt_;
};

}  // namespace spillway::steps
