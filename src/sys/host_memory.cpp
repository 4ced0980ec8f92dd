#include "sys/host_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>

#include "base/align.h"
#include "sys/text_file.h"

// Newer than the headers of some systems that we build on; kernels without them say EINVAL.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

namespace spillway::sys {
namespace {

std::size_t size(std::int64_t bytes) { return static_cast<std::size_t>(bytes); }

int advise(std::byte* at, std::int64_t bytes, int advice) {
  for (int attempt = 0;; ++attempt) {
    if (::madvise(at, size(bytes), advice) == 0) return 0;
    if (errno != EINTR && (errno != EAGAIN || attempt >= 100)) return errno;
  }
}

/// A length of zero asks whether the kernel knows the advice, and does nothing.
bool can_populate() {
  static const bool known = ::madvise(nullptr, 0, MADV_POPULATE_WRITE) == 0;
  return known;
}

/// Writes every page's first byte to itself. Kernels before 5.14 offer nothing better.
__attribute__((no_sanitize("address", "thread"))) void touch(std::byte* at, std::int64_t bytes) {
  for (std::int64_t page = 0; page < bytes; page += page_bytes) {
    auto* byte = reinterpret_cast<volatile unsigned char*>(at + page);
    *byte = *byte;
  }
}

std::int64_t number_in(const char* file) {
  return leading_number(read_text(std::string("/sys/kernel/mm/hugepages/hugepages-2048kB/") + file))
      .value_or(0);
}

class KernelMemory final : public HostMemory {
 public:
  int map(std::int64_t bytes, std::int64_t alignment, std::byte*& at) override {
    // The kernel aligns to pages only: map more, then give back what is before and behind.
    const std::int64_t spare = alignment > page_bytes ? alignment - page_bytes : 0;
    const auto total = checked_add(bytes, spare);
    if (!total) return ENOMEM;
    void* mapped =
        ::mmap(nullptr, size(*total), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return errno;
    auto* first = static_cast<std::byte*>(mapped);
    const auto address = reinterpret_cast<std::uintptr_t>(mapped);
    const auto skip = static_cast<std::int64_t>(
        align_up(address, static_cast<std::uintptr_t>(alignment)) - address);
    if (skip > 0) ::munmap(first, size(skip));
    if (skip < spare) ::munmap(first + skip + bytes, size(spare - skip));
    at = first + skip;
    return 0;
  }

  int map_hugetlb(std::int64_t bytes, std::byte*& at) override {
    // Only what MADV_POPULATE_WRITE can fill with an errno: a touch that finds no page (a cgroup's
    // or node's limit) is a SIGBUS.
    if (!can_populate()) return EOPNOTSUPP;
    // Free pages count those promised to others. Asked first, so that no surplus page is made.
    const std::int64_t free = number_in("free_hugepages") - number_in("resv_hugepages");
    if (free * huge_page_bytes < bytes) return ENOMEM;
    void* mapped = ::mmap(nullptr, size(bytes), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
    if (mapped == MAP_FAILED) return errno;
    at = static_cast<std::byte*>(mapped);
    return 0;
  }

  void unmap(std::byte* at, std::int64_t bytes) noexcept override { ::munmap(at, size(bytes)); }

  int advise_huge(std::byte* at, std::int64_t bytes) override {
    return advise(at, bytes, MADV_HUGEPAGE);
  }
  int advise_small(std::byte* at, std::int64_t bytes) override {
    return advise(at, bytes, MADV_NOHUGEPAGE);
  }
  int advise_dont_fork(std::byte* at, std::int64_t bytes) override {
    return advise(at, bytes, MADV_DONTFORK);
  }
  int advise_dont_dump(std::byte* at, std::int64_t bytes) override {
    return advise(at, bytes, MADV_DONTDUMP);
  }

  int bind_node(std::byte* at, std::int64_t bytes, int node) override {
    // By number, so that libnuma is not needed. The kernel reads `bits - 1` bits of the mask.
    constexpr int mpol_bind = 2;
    constexpr int bits = 1024, word = 8 * sizeof(unsigned long);
    if (node < 0 || node >= bits - 1) return EINVAL;
    std::array<unsigned long, bits / word> mask{};
    mask[static_cast<std::size_t>(node / word)] = 1UL << (node % word);
    return ::syscall(SYS_mbind, at, size(bytes), mpol_bind, mask.data(), bits, 0) == 0 ? 0 : errno;
  }

  int populate(std::byte* at, std::int64_t bytes) override {
    if (can_populate()) return advise(at, bytes, MADV_POPULATE_WRITE);
    touch(at, bytes);
    return 0;
  }

  // By number, because sanitizers replace mlock by a function that does nothing and says 0.
  int lock(std::byte* at, std::int64_t bytes) override {
    return ::syscall(SYS_mlock, at, size(bytes)) == 0 ? 0 : errno;
  }
  void unlock(std::byte* at, std::int64_t bytes) noexcept override {
    ::syscall(SYS_munlock, at, size(bytes));
  }

  std::int64_t huge_bytes(const std::byte* at, std::int64_t bytes) override;
};

/// "7f12a000-7f13a000 rw-p ..." starts an entry of smaps; its other lines are "Key:   12 kB".
bool read_range(std::string_view line, std::uintptr_t& from, std::uintptr_t& to) {
  const char* end = line.data() + line.size();
  const auto first = std::from_chars(line.data(), end, from, 16);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '-') return false;
  return std::from_chars(first.ptr + 1, end, to, 16).ec == std::errc{};
}

std::int64_t KernelMemory::huge_bytes(const std::byte* at, std::int64_t bytes) {
  const std::string smaps = read_text("/proc/self/smaps");
  const auto begin = reinterpret_cast<std::uintptr_t>(at), end = begin + size(bytes);
  std::int64_t huge = 0, overlap = 0, seen = 0;
  for (std::string_view rest = smaps; !rest.empty();) {
    const auto newline = rest.find('\n');
    const auto line = rest.substr(0, newline);
    rest.remove_prefix(newline == std::string_view::npos ? rest.size() : newline + 1);
    std::uintptr_t from = 0, to = 0;
    if (read_range(line, from, to)) {
      const auto low = std::max(from, begin), high = std::min(to, end);
      overlap = low < high ? static_cast<std::int64_t>(high - low) : 0;
      seen += overlap;
    } else if (overlap > 0 &&
               (line.starts_with("AnonHugePages:") || line.starts_with("Private_Hugetlb:"))) {
      const auto kib = leading_number(line.substr(line.find(':') + 1)).value_or(0);
      // The kernel may have joined a neighbour's mapping to ours: never more than our own part.
      huge += std::min(kib * KiB, align_down(overlap, huge_page_bytes));
    }
  }
  return seen == bytes ? huge : -1;
}

}  // namespace

HostMemory& host_memory() {
  static KernelMemory& memory = *new KernelMemory;
  return memory;
}

}  // namespace spillway::sys
