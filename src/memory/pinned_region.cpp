#include "memory/pinned_region.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/log.h"
#include "base/throw.h"
#include "memory/prefault.h"
#include "sys/cuda_driver.h"
#include "sys/file.h"
#include "sys/host_memory.h"
#include "sys/limits.h"
#include "sys/process.h"

namespace spillway {
namespace {

/// Takes the region's steps one after another. What it has mapped is in the region at once, so that
/// the region's destructor gives it back if a later step throws.
class Builder {
 public:
  Builder(const RegionOptions& options, std::byte*& data, RegionReport& report,
          sys::HostMemory& memory, sys::CudaDriver& cuda)
      : options_(options), data_(data), report_(report), memory_(memory), cuda_(cuda) {}

  void build() {
    if (!map_hugetlb()) map_pages();
    if (options_.pin) lock();
    for (const std::string& reason : quiet_) log::info("{}: {}", options_.name, reason);
    for (const std::string& reason : loud_) log::warning("{}: {}", options_.name, reason);
  }

 private:
  /// Whole huge pages that the region could have.
  std::int64_t huge_goal() const { return align_down(report_.requested_bytes, huge_page_bytes); }
  bool must_populate() const {
    return options_.prefault || options_.pin || options_.huge_pages == Switch::on;
  }

  // Every reason is reported. It is a warning if it spoils something asked for in so many words;
  // what is merely slower than it could be is worth one only where locked memory was asked for.
  void refused(std::string reason, bool asked_for) {
    report_.reasons.push_back(reason);
    (asked_for || options_.pin ? loud_ : quiet_).push_back(std::move(reason));
  }

  /// Pages that the administrator has set aside: huge for certain, and never swapped. They are
  /// filled at once, because a page that is missing later is a SIGBUS instead of an errno.
  bool map_hugetlb() {
    if (options_.huge_pages == Switch::off || !must_populate() || huge_goal() == 0) return false;
    const std::int64_t bytes = align_up(report_.requested_bytes, huge_page_bytes);
    std::byte* at = nullptr;
    if (memory_.map_hugetlb(bytes, at) != 0) return false;  // none set aside: the usual case
    take(at, bytes, true);
    advise();
    if (const int error = prefault(memory_, data_, bytes)) {
      refused(fmt::format("the {} set aside as hugetlb pages could not be used ({}); ordinary "
                          "pages are used instead",
                          format_bytes(bytes), sys::errno_text(error)),
              false);
      give_back();
      return false;
    }
    report_.huge_bytes = bytes;
    return true;
  }

  void map_pages() {
    const std::int64_t bytes = align_up(report_.requested_bytes, page_bytes);
    if (must_populate()) check_available(bytes);
    const std::int64_t start = huge_goal() > 0 ? huge_page_bytes : page_bytes;
    std::byte* at = nullptr;
    if (const int error = memory_.map(bytes, std::max(start, options_.alignment), at))
      throw_no_memory("mmap", error);
    take(at, bytes, false);
    advise();
    advise_size();
    if (must_populate()) {
      if (const int error = prefault(memory_, data_, bytes)) throw_no_memory("prefault", error);
      report_.huge_bytes = memory_.huge_bytes(data_, bytes);
      check_huge();
    }
  }

  // Asked before the pages are: a kernel that has promised too much does not return an errno, it
  // kills the process.
  void check_available(std::int64_t bytes) const {
    const sys::MemoryLimits limits = sys::memory_limits();
    const bool group = limits.cgroup_available < limits.available;
    const std::int64_t available = std::min(limits.available, limits.cgroup_available);
    if (bytes <= available) return;
    throw_error(Errc::out_of_memory,
                "{}: {} of memory are needed and {} are available ({}); reduce {}", options_.name,
                format_bytes(bytes), format_bytes(available),
                group ? "memory limit of control group " + limits.cgroup_path
                      : "MemAvailable of this machine",
                options_.setting);
  }

  [[noreturn]] void throw_no_memory(const char* step, int error) const {
    throw_error(Errc::out_of_memory, "{}: the kernel gave no {} of memory ({}: {}); reduce {}",
                options_.name, format_bytes(report_.requested_bytes), step, sys::errno_text(error),
                options_.setting);
  }

  void take(std::byte* at, std::int64_t bytes, bool hugetlb) {
    data_ = at;
    report_.region_bytes = bytes;
    report_.hugetlb = hugetlb;
  }
  void give_back() {
    memory_.unmap(std::exchange(data_, nullptr), std::exchange(report_.region_bytes, 0));
    report_.hugetlb = false;
  }

  void advise() {
    const std::int64_t bytes = report_.region_bytes;
    // First of all: a fork before it would share the pages, and copy-on-write would then move
    // ours away from under the device.
    if (const int error = memory_.advise_dont_fork(data_, bytes))
      refused(fmt::format("forked children will see the memory (MADV_DONTFORK: {}); do not fork "
                          "while it is in use",
                          sys::errno_text(error)),
              true);
    if (!options_.dump)
      if (const int error = memory_.advise_dont_dump(data_, bytes))
        refused(fmt::format("the memory will be part of core dumps (MADV_DONTDUMP: {}); "
                            "`ulimit -c 0` switches them off",
                            sys::errno_text(error)),
                true);
    if (options_.numa_node >= 0)
      if (const int error = memory_.bind_node(data_, bytes, options_.numa_node))
        refused(fmt::format("numa_node {} was refused (mbind: {}); `lscpu` lists the nodes, -1 "
                            "leaves the choice to the kernel",
                            options_.numa_node, sys::errno_text(error)),
                true);
  }

  void advise_size() {
    if (huge_goal() == 0) return;
    if (options_.huge_pages == Switch::off) {
      memory_.advise_small(data_, report_.region_bytes);  // refused: there are no others
      return;
    }
    huge_error_ = memory_.advise_huge(data_, report_.region_bytes);
  }

  void check_huge() {
    if (options_.huge_pages == Switch::off || huge_goal() == 0) return;
    if (report_.huge_bytes >= huge_goal()) return;
    const std::string got =
        report_.huge_bytes < 0 ? std::string("an unknown part") : format_bytes(report_.huge_bytes);
    const std::string why = huge_error_ != 0
                                ? fmt::format("MADV_HUGEPAGE: {}", sys::errno_text(huge_error_))
                                : std::string("memory is fragmented, or they are switched off");
    const std::string reason = fmt::format(
        "{} of {} are 2 MiB pages ({}), so the disk works in small pieces; put `madvise` in "
        "/sys/kernel/mm/transparent_hugepage/enabled, or set {} pages aside with `sysctl "
        "vm.nr_hugepages`",
        got, format_bytes(huge_goal()), why, divide_up(report_.requested_bytes, huge_page_bytes));
    if (options_.huge_pages == Switch::on)
      throw_error(Errc::unsupported, "{}: huge_pages is on, but only {}", options_.name, reason);
    refused("only " + reason, false);
  }

  void lock() {
    const std::int64_t bytes = report_.region_bytes;
    if (cuda_.context_current()) {
      std::string why;
      if (cuda_.register_host(data_, bytes, why) == 0) {
        report_.cuda_bytes = bytes;
        return;
      }
      refused(fmt::format("CUDA did not register {} ({}); mlock is used instead, and copies to "
                          "the GPU are slower",
                          format_bytes(bytes), why),
              true);
    }
    if (report_.hugetlb) {
      report_.locked_bytes = bytes;  // never swapped; mlock would only count it against the limit
      return;
    }
    const int error = memory_.lock(data_, bytes);
    if (error == 0) {
      report_.locked_bytes = bytes;
      return;
    }
    memory_.unlock(data_, bytes);  // it may have come half way
    const std::string reason = lock_refusal(bytes, error);
    if (options_.require_pinned)
      throw_error(Errc::memlock_limit, "{}: require_pinned is on, but {}", options_.name, reason);
    refused(reason + "; going on with memory that is not locked", true);
  }

  static std::string lock_refusal(std::int64_t bytes, int error) {
    const sys::MemoryLimits limits = sys::memory_limits();
    const auto need = checked_add(limits.memlock_used, bytes).value_or(INT64_MAX);
    if (limits.memlock_exempt || need <= limits.memlock)
      return fmt::format("{} could not be locked (mlock: {})", format_bytes(bytes),
                         sys::errno_text(error));
    const std::int64_t kib = divide_up(need, KiB);
    return fmt::format(
        "locking {} needs RLIMIT_MEMLOCK {} ({} of them locked already), and it is {}: run `ulimit "
        "-l {}` before the program, or as root add `* - memlock {}` to /etc/security/limits.conf",
        format_bytes(bytes), format_bytes(need), format_bytes(limits.memlock_used),
        format_bytes(limits.memlock), kib, kib);
  }

  const RegionOptions& options_;
  std::byte*& data_;
  RegionReport& report_;
  sys::HostMemory& memory_;
  sys::CudaDriver& cuda_;
  int huge_error_ = 0;
  std::vector<std::string> quiet_, loud_;
};

}  // namespace

PinnedRegion::PinnedRegion(std::int64_t bytes, const RegionOptions& options) : PinnedRegion() {
  if (bytes < 0)
    throw_error(Errc::invalid_argument, "{}: a region of {} bytes", options.name, bytes);
  if (bytes > INT64_MAX - huge_page_bytes)
    throw_error(Errc::out_of_memory, "{}: {} is more than any machine has; reduce {}", options.name,
                format_bytes(bytes), options.setting);
  memory_ = options.memory != nullptr ? options.memory : &sys::host_memory();
  cuda_ = options.cuda != nullptr ? options.cuda : &sys::cuda_driver();
  owner_ = sys::process_id();
  report_.requested_bytes = bytes;
  if (bytes == 0) return;
  // This constructor delegates: from here on the destructor runs, whatever throws.
  Builder(options, data_, report_, *memory_, *cuda_).build();
}

PinnedRegion::PinnedRegion(PinnedRegion&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      report_(std::exchange(other.report_, {})),
      memory_(other.memory_),
      cuda_(other.cuda_),
      owner_(other.owner_) {}

PinnedRegion& PinnedRegion::operator=(PinnedRegion&& other) noexcept {
  PinnedRegion taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(report_, taken.report_);
  std::swap(memory_, taken.memory_);
  std::swap(cuda_, taken.cuda_);
  std::swap(owner_, taken.owner_);
  return *this;
}

PinnedRegion::~PinnedRegion() {
  if (data_ == nullptr || owner_ != sys::process_id()) return;
  if (report_.cuda_bytes > 0) cuda_->unregister_host(data_);
  memory_->unmap(data_, report_.region_bytes);
}

void PinnedRegion::abandon() noexcept {
  data_ = nullptr;
  report_ = {};
}

}  // namespace spillway
