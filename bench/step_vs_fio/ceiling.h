#pragma once

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "bench/fio.h"
#include "bench/huge_pages.h"

#include "spillway/error.h"
#include "spillway/path_load.h"

namespace spillway::bench {

/// A name for the data file that a swapper of this process has open in a directory, where it has
/// none any more. Throws Error: not_found.
inline std::string open_file_in(const std::filesystem::path& directory) {
  const std::string mine = fmt::format("/proc/{}/fd", ::getpid());
  for (const auto& entry : std::filesystem::directory_iterator(mine)) {
    std::error_code gone;  // the iterator's own is among them
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.starts_with(directory.string() + "/") && entry.is_regular_file(gone))
      return entry.path().string();
  }
  throw Error(Errc::not_found,
              fmt::format("the swapper has no file open in {}", directory.string()));
}

/// What fio gets out of a file: blocks of 1 MiB, eight at a time, buffers in huge pages.
class FioCeiling {
 public:
  /// Of the first `bytes` of a file that is there: two files of one disk may differ by as much as
  /// what is to be found out. `engine` as for tool::Fio. `tiny`: no huge pages, for the few
  /// there are may go to another test meanwhile.
  FioCeiling(const std::string& file, std::int64_t bytes, LoadPattern pattern, double seconds,
             std::string engine, bool tiny)
      : fio_(std::move(engine)) {
    run_.files = {{file}};
    run_.file_bytes = bytes < block ? bytes / page * page : bytes / block * block;
    run_.pattern = pattern;
    run_.block_bytes = std::min(block, run_.file_bytes);
    run_.depth = depth;
    run_.huge_pages = !tiny && tool::HugePages::free_for(depth * block);
    run_.seconds = seconds;
    if (!run_.huge_pages)
      fmt::print(stderr,
                 "warning: no hugetlb pages (vm.nr_hugepages), so fio gets 4 KiB pages and "
                 "its rate is no ceiling\n");
  }

  /// [bytes per second], reads and writes together
  double rate() { return fio_.run(run_).rate(); }
  /// The same with buffers of about `bytes` together, one request for each block of them. The 8 MiB
  /// of rate() stay in the processor's cache; on some machines that is worth an eighth of the rate.
  double rate_over(std::int64_t bytes) {
    tool::FioRun wide = run_;
    wide.depth = std::clamp<std::int64_t>(bytes / block, depth, 1024);
    wide.huge_pages = run_.huge_pages && tool::HugePages::free_for(wide.depth * block);
    return fio_.run(wide).rate();
  }
  bool huge_pages() const { return run_.huge_pages; }
  std::string engine() const { return fio_.engine(); }

 private:
  static constexpr std::int64_t block = 1024 * 1024, page = 4096, depth = 8;

  tool::Fio fio_;
  tool::FioRun run_;
};

}  // namespace spillway::bench
