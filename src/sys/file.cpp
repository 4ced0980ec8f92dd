#include "sys/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/align.h"

namespace spillway::sys {
namespace {

struct KnownFileSystem {
  std::uint32_t magic;
  std::string_view name;
};
constexpr std::uint32_t xfs_magic = 0x58465342, zfs_magic = 0x2fc12fc1, lustre_magic = 0x0bd00bd0,
                        gpfs_magic = 0x47504653, ntfs3_magic = 0x7366746e,
                        bcachefs_magic = 0xca451a4e, beegfs_magic = 0x19830326,
                        cifs_magic = 0xff534d42;
constexpr std::array<KnownFileSystem, 21> known_file_systems{{
    {EXT4_SUPER_MAGIC, "ext4"},   {xfs_magic, "xfs"},
    {BTRFS_SUPER_MAGIC, "btrfs"}, {TMPFS_MAGIC, "tmpfs"},
    {RAMFS_MAGIC, "ramfs"},       {HUGETLBFS_MAGIC, "hugetlbfs"},
    {FUSE_SUPER_MAGIC, "fuse"},   {OVERLAYFS_SUPER_MAGIC, "overlayfs"},
    {NFS_SUPER_MAGIC, "nfs"},     {SMB2_SUPER_MAGIC, "smb2"},
    {cifs_magic, "cifs"},         {F2FS_SUPER_MAGIC, "f2fs"},
    {MSDOS_SUPER_MAGIC, "vfat"},  {EXFAT_SUPER_MAGIC, "exfat"},
    {V9FS_MAGIC, "9p"},           {zfs_magic, "zfs"},
    {lustre_magic, "lustre"},     {gpfs_magic, "gpfs"},
    {ntfs3_magic, "ntfs3"},       {bcachefs_magic, "bcachefs"},
    {beegfs_magic, "beegfs"},
}};

std::string file_system_name(std::uint32_t magic) {
  for (const KnownFileSystem& known : known_file_systems)
    if (known.magic == magic) return std::string(known.name);
  return fmt::format("{:#x}", magic);
}

// The kernel's struct cachestat, which glibc 2.36 does not know yet.
struct CacheStatRange {
  std::uint64_t offset, length;
};
struct CacheStat {
  std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
};
constexpr long cachestat_number = 451;  // the same on every architecture

// Counts resident pages of a mapping, where the kernel has no cachestat (before 6.5).
std::int64_t cached_by_mincore(int fd, std::int64_t offset, std::int64_t bytes) {
  const auto length = static_cast<std::size_t>(bytes);
  void* const at = mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, offset);
  if (at == MAP_FAILED) return -1;
  std::vector<unsigned char> pages(static_cast<std::size_t>(divide_up(bytes, page_bytes)));
  const int status = mincore(at, length, pages.data());
  munmap(at, length);
  if (status != 0) return -1;
  return page_bytes * std::count_if(pages.begin(), pages.end(),
                                    [](unsigned char page) { return (page & 1) != 0; });
}

bool read_text(const std::string& path, std::array<char, 512>& text) {
  const UniqueFd fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return false;
  const ssize_t got = read(fd.get(), text.data(), text.size() - 1);
  if (got <= 0) return false;
  text[static_cast<std::size_t>(got)] = '\0';
  return true;
}

}  // namespace

void UniqueFd::reset(int fd) noexcept {
  // Not retried on EINTR: Linux has closed the descriptor by then, and another thread may own it.
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

std::int64_t read_at(int fd, std::byte* to, std::int64_t bytes, std::int64_t offset) noexcept {
  const ssize_t got = pread(fd, to, static_cast<std::size_t>(bytes), offset);
  return got >= 0 ? got : -errno;
}

std::int64_t write_at(int fd, const std::byte* from, std::int64_t bytes, std::int64_t offset,
                      bool dsync) noexcept {
  ssize_t put = 0;
  if (dsync) {
    const iovec part{const_cast<std::byte*>(from), static_cast<std::size_t>(bytes)};
    put = pwritev2(fd, &part, 1, offset, RWF_DSYNC);
  } else {
    put = pwrite(fd, from, static_cast<std::size_t>(bytes), offset);
  }
  return put >= 0 ? put : -errno;
}

int file_facts(int fd, FileFacts& facts) noexcept try {
  struct statx stat {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_DIOALIGN, &stat) != 0) return errno;
  struct statfs system {};
  if (fstatfs(fd, &system) != 0) return errno;
  const auto magic = static_cast<std::uint32_t>(system.f_type);
  facts = {};
  facts.fs_name = file_system_name(magic);
  facts.is_memory = magic == TMPFS_MAGIC || magic == RAMFS_MAGIC || magic == HUGETLBFS_MAGIC;
  facts.is_btrfs = magic == BTRFS_SUPER_MAGIC;
  if ((stat.stx_mask & STATX_DIOALIGN) != 0) {
    facts.dio_memory_align = stat.stx_dio_mem_align;
    facts.dio_offset_align = stat.stx_dio_offset_align;
  }
  facts.device = makedev(stat.stx_dev_major, stat.stx_dev_minor);
  facts.inode = stat.stx_ino;
  facts.size = static_cast<std::int64_t>(stat.stx_size);
  return 0;
} catch (...) {
  return ENOMEM;
}

int free_space(int fd, std::int64_t& bytes) noexcept {
  struct statfs system {};
  if (fstatfs(fd, &system) != 0) return errno;
  // f_bavail, not f_bfree: what root keeps in reserve is not for us even where we are root.
  const auto unit =
      static_cast<std::int64_t>(system.f_frsize != 0 ? system.f_frsize : system.f_bsize);
  bytes = checked_multiply(static_cast<std::int64_t>(system.f_bavail), unit).value_or(INT64_MAX);
  return 0;
}

std::int64_t cached_bytes(int fd, std::int64_t offset, std::int64_t bytes) noexcept try {
  CacheStatRange range{static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(bytes)};
  CacheStat cache{};
  if (syscall(cachestat_number, fd, &range, &cache, 0) == 0)
    return static_cast<std::int64_t>(cache.cached) * page_bytes;
  return cached_by_mincore(fd, offset, bytes);
} catch (...) {
  return -1;
}

bool device_counters(std::uint64_t device, DeviceCounters& counters) noexcept try {
  const std::string base = fmt::format("/sys/dev/block/{}:{}", major(device), minor(device));
  std::array<char, 512> text{};
  // A partition has no queue of its own; its disk, one folder up, does.
  if ((read_text(base + "/queue/iostats", text) || read_text(base + "/../queue/iostats", text)) &&
      text[0] == '0')
    return false;
  if (!read_text(base + "/stat", text)) return false;
  // reads, merged, sectors, ms, writes, merged, sectors, ms, ... (Documentation/block/stat.rst)
  unsigned long long read_sectors = 0, write_sectors = 0;
  if (std::sscanf(text.data(), "%*u %*u %llu %*u %*u %*u %llu", &read_sectors, &write_sectors) != 2)
    return false;
  counters.read_bytes = static_cast<std::int64_t>(read_sectors) * 512;
  counters.written_bytes = static_cast<std::int64_t>(write_sectors) * 512;
  return true;
} catch (...) {
  return false;
}

std::string errno_text(int error) {
  const char* const name = strerrorname_np(error);
  const char* const text = strerrordesc_np(error);
  if (name == nullptr || text == nullptr) return fmt::format("error {}", error);
  return fmt::format("{} ({})", text, name);
}

}  // namespace spillway::sys
