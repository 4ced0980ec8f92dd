#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/fio.h"
#include "bench/huge_pages.h"

#include "spillway/path_load.h"

namespace spillway::steps {

/// One measurement of the ceiling.
struct CeilingRun {
  std::int64_t read_bytes = 0, written_bytes = 0;
  double rate = 0;  ///< [bytes per second] both together
};

/// What the paths give a step at best: half reads and half writes, 1 MiB blocks, eight in flight
/// on each path, from huge pages. fio gets the state's own files, a job for each path, for two
/// files of one disk may differ by as much as is to be found out; our own transfers get files made
/// as a swapper makes them.
class Ceiling {
 public:
  /// Whether it will be fio's. `wish`: auto, fio, engine, none. Throws Error not_found (fio).
  static bool is_of_fio(const std::string& wish);

  /// Makes and fills files of about `file_bytes` together where fio does not measure. Throws Error:
  /// not_found (fio), and what PathLoad throws.
  Ceiling(const std::string& wish, const std::vector<std::filesystem::path>& paths,
          std::int64_t file_bytes, LoadFill fill, const IoConfig& io);

  bool measured() const { return load_ || fio_; }
  /// measure() writes to the state's files: the state must be made anew afterwards.
  bool overwrites() const { return fio_ != nullptr; }
  /// "fio-3.33 with io_uring, ...", "engine", "none"; what has measured nothing is none.
  std::string source() const;
  /// What makes it no ceiling, as far as has been seen; empty when nothing does.
  const std::string& doubt() const { return doubt_; }
  /// Over `seconds`. `state`: the paths of the state with its files, of each rank. Nothing where
  /// fio has no file to run on, for the state is in memory. Requires measured().
  std::optional<CeilingRun> measure(const std::vector<PathStats>& state, double seconds);

 private:
  std::optional<CeilingRun> measure_fio(const std::vector<PathStats>& state, double seconds);
  CeilingRun measure_load(double seconds);

  std::int64_t paths_;
  LoadFill fill_;
  std::unique_ptr<PathLoad> load_;
  std::unique_ptr<tool::HugePages> huge_pages_;
  std::unique_ptr<tool::Fio> fio_;
  std::string doubt_;
  bool ran_ = false;
};

}  // namespace spillway::steps
