#include "bench/huge_pages.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

#include "process_figures.h"

namespace spillway::tool {
namespace {

constexpr std::int64_t page = 2 * 1024 * 1024;
constexpr const char* setting = "/proc/sys/vm/nr_hugepages";

// proc_bytes() takes every number of that file for kibibytes.
std::int64_t count(const char* name) {
  return std::max<std::int64_t>(0, proc_bytes("/proc/meminfo", name) / 1024);
}

std::int64_t free_pages() {
  if (proc_bytes("/proc/meminfo", "Hugepagesize") != page) return 0;
  return std::max<std::int64_t>(0, count("HugePages_Free") - count("HugePages_Rsvd"));
}

bool set_total(std::int64_t pages) {
  std::ofstream stream(setting);
  stream << pages << "\n";
  return static_cast<bool>(stream.flush());
}

}  // namespace

bool HugePages::free_for(std::int64_t bytes) { return free_pages() * page >= bytes; }

HugePages::HugePages(std::int64_t bytes) {
  const std::int64_t need = (bytes + page - 1) / page;
  const std::int64_t missing = need - free_pages();
  if (missing <= 0) return;
  const std::int64_t before = count("HugePages_Total");
  const bool allowed = set_total(before + missing);
  added_ = std::max<std::int64_t>(0, count("HugePages_Total") - before);
  if (free_pages() >= need) return;
  why_not_ = fmt::format(
      "{} pages of 2 MiB are needed, {} are free, and {}; as root: sysctl "
      "vm.nr_hugepages={}",
      need, free_pages(), allowed ? "the kernel found no room for more" : "only root may add some",
      before + missing);
}

HugePages::~HugePages() {
  // Less what was added, not back to what was: somebody else may have set some aside meanwhile.
  if (added_ > 0) set_total(std::max<std::int64_t>(0, count("HugePages_Total") - added_));
}

}  // namespace spillway::tool
