#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "load.h"

namespace spillway::bench {

struct FioLoadSettings {
  std::filesystem::path file;  ///< exists, filled
  std::int64_t file_bytes = 0;
  std::int64_t block_bytes = 1024 * 1024;
  int depth = 8;
  std::string engine = "io_uring";
  bool direct = true;
  bool huge_pages = true;  ///< hugetlb pages for its buffers
  Data data = Data::random;
  std::vector<std::string> more = {};  ///< arguments for fio
};

/// fio on the same file, as fast as it goes: registered file, fixed buffers, huge pages.
class FioLoad {
 public:
  static bool installed();
  /// Whether there are free hugetlb pages for its buffers, which it asks for and does not live
  /// without (vm.nr_hugepages).
  static bool huge_pages_free_for(std::int64_t bytes);

  /// Runs fio a few times for no longer than it takes to start, to know what that costs.
  explicit FioLoad(FioLoadSettings settings);
  /// The processor time is that of fio's process, less what a run costs that moves one block.
  Sample run(Pattern pattern, double seconds) const;

 private:
  Sample run(Pattern pattern, const std::string& bound) const;

  FioLoadSettings settings_;
  double start_cpu_seconds_ = 0;
};

}  // namespace spillway::bench
