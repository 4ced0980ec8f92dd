#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "bench/fio.h"
#include "bench/huge_pages.h"

#include "spillway/path_load.h"

namespace spillway::bench {

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
