#include "bench/huge_pages.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

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

// The kernel knows no "so many more": two that add at the same time must take turns.
class Turn {
 public:
  Turn() : file_(::open(setting, O_RDWR | O_CLOEXEC)) {  // root: nobody else changes anything
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (file_ >= 0) ::fcntl(file_, F_OFD_SETLKW, &whole);
  }
  ~Turn() {
    if (file_ >= 0) ::close(file_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  int file_;
};

bool set_total(std::int64_t pages) {
  std::ofstream stream(setting);
  stream << pages << "\n";
  return static_cast<bool>(stream.flush());
}

}  // namespace

bool HugePages::free_for(std::int64_t bytes) { return free_pages() * page >= bytes; }

HugePages::HugePages(std::int64_t bytes) {
  const std::int64_t need = (bytes + page - 1) / page;
  const Turn turn;
  const std::int64_t before = count("HugePages_Total"), free_before = free_pages();
  // Pages that are free now may be another run's, which goes and takes them with it.
  const bool allowed = set_total(before + need);
  added_ = std::max<std::int64_t>(0, count("HugePages_Total") - before);
  if (free_pages() >= need) return;
  why_not_ = fmt::format(
      "{} pages of 2 MiB are needed, {} are free, and {}; as root: sysctl "
      "vm.nr_hugepages={}",
      need, free_pages(), allowed ? "the kernel found no room for more" : "only root may add some",
      before + need - free_before);
}

HugePages::~HugePages() {
  // Less what was added, not back to what was: somebody else may have set some aside meanwhile.
  if (added_ <= 0) return;
  const Turn turn;
  set_total(std::max<std::int64_t>(0, count("HugePages_Total") - added_));
}

}  // namespace spillway::tool
