#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace spillway::bench {

/// How fast a file system can go, by fio: large mixed transfers from buffers in huge pages.
struct FioSettings {
  std::filesystem::path directory;
  std::int64_t file_bytes = 0;  ///< a multiple of block_bytes
  std::int64_t runtime_ms = 2000;
  std::string engine = "io_uring";  ///< or libaio
  bool huge_pages = true;           ///< hugetlb pages for fio's buffers
  std::int64_t block_bytes = 1024 * 1024;
  int depth = 8;
};

class Fio {
 public:
  /// "fio-3.33", or empty where there is none.
  static std::string version();

  /// Makes and fills the file. Throws Error.
  explicit Fio(FioSettings settings);

  struct Rate {
    double read = 0, write = 0;  ///< [bytes per second]
    double both() const { return read + write; }
  };
  /// Half reads, half writes, for `runtime_ms`.
  Rate mixed() const;
  /// Reads alone, for `runtime_ms`. [bytes per second]
  double reading() const;

 private:
  Rate run(const std::string& direction, bool timed) const;

  FioSettings settings_;
};

}  // namespace spillway::bench
