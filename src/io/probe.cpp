#include "io/probe.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/throw.h"

namespace spillway::io {
namespace {

constexpr std::int64_t first_size = 4 * KiB, last_size = MiB;

class AlignedMemory {
 public:
  AlignedMemory(std::int64_t bytes, std::int64_t alignment)
      : alignment_(static_cast<std::align_val_t>(alignment)),
        at_(static_cast<std::byte*>(::operator new(static_cast<std::size_t>(bytes), alignment_))) {}
  ~AlignedMemory() { ::operator delete(at_, alignment_); }
  AlignedMemory(const AlignedMemory&) = delete;
  AlignedMemory& operator=(const AlignedMemory&) = delete;
  std::byte* data() const { return at_; }

 private:
  std::align_val_t alignment_;
  std::byte* at_;
};

/// Turns O_DIRECT on or off; 0 or errno.
int set_direct(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return errno;
  const int wanted = on ? flags | O_DIRECT : flags & ~O_DIRECT;
  if (wanted == flags) return 0;
  return ::fcntl(fd, F_SETFL, wanted) == 0 ? 0 : errno;
}

/// Moves all of it or says why not: bytes, or -errno. Short transfers go on.
std::int64_t move_all(int fd, bool write, std::byte* data, std::int64_t bytes) {
  std::int64_t done = 0;
  while (done < bytes) {
    const std::int64_t moved = write ? sys::write_at(fd, data + done, bytes - done, done, false)
                                     : sys::read_at(fd, data + done, bytes - done, done);
    if (moved == -EINTR) continue;
    if (moved < 0) return moved;
    if (moved == 0) break;
    done += moved;
  }
  return done;
}

/// What writing and reading back showed. `error` is an errno; `what` the transfer that failed.
struct Trial {
  int error = 0;
  std::string what;
  std::int64_t bytes = 0;   ///< each way
  std::int64_t cached = 0;  ///< [bytes] of the last transfer that the page cache holds; -1: unknown
};

// Sizes from a page to a block: some file systems take one and refuse the other.
Trial try_transfers(int fd, std::int64_t alignment, const std::string& name) {
  const AlignedMemory out(last_size, alignment), in(last_size, alignment);
  Trial trial;
  for (std::int64_t size = std::max(first_size, alignment); size <= last_size; size *= 2) {
    for (std::int64_t i = 0; i < size; ++i)
      out.data()[i] = static_cast<std::byte>((i * 31 + size / first_size + (i >> 12)) & 0xff);
    std::memset(in.data(), 0, static_cast<std::size_t>(size));
    for (const bool write : {true, false}) {
      const std::int64_t moved = move_all(fd, write, write ? out.data() : in.data(), size);
      if (moved == size) continue;
      trial.error = moved < 0 ? static_cast<int>(-moved) : EIO;
      trial.what = fmt::format("a {} of {}", write ? "write" : "read", format_bytes(size));
      return trial;
    }
    if (std::memcmp(in.data(), out.data(), static_cast<std::size_t>(size)) != 0)
      throw_error(
          Errc::corrupt,
          "{}: {} that were just written are not what is read back; the device or its driver "
          "is faulty",
          name, format_bytes(size));
    trial.bytes += size;
  }
  trial.cached = sys::cached_bytes(fd, 0, last_size);
  return trial;
}

/// Whether the transfers went past the page cache; `how` tells what shows it.
bool proven(const FileProbe& probe, const Trial& trial, bool counted,
            const sys::DeviceCounters& before, const sys::DeviceCounters& after, std::string& how) {
  if (trial.cached > 0) {
    how = fmt::format("{} takes O_DIRECT, but the page cache holds {} of what was moved",
                      probe.facts.fs_name, format_bytes(trial.cached));
    return false;
  }
  if (counted) {
    const std::int64_t read = after.read_bytes - before.read_bytes;
    const std::int64_t written = after.written_bytes - before.written_bytes;
    const bool rose = read >= trial.bytes && written >= trial.bytes;
    how = fmt::format("the device counted {} written and {} read for {} each way",
                      format_bytes(written), format_bytes(read), format_bytes(trial.bytes));
    if (!rose) how = probe.facts.fs_name + " takes O_DIRECT, but " + how;
    return rose;
  }
  const std::string counters = "there are no device counters";
  if (trial.cached < 0 && probe.facts.dio_offset_align == 0) {
    how = fmt::format(
        "{} takes O_DIRECT, but nothing shows it: {}, and neither the page cache nor "
        "statx tells",
        probe.facts.fs_name, counters);
    return false;
  }
  how = trial.cached == 0 ? "the page cache holds none of what was moved; " + counters
                          : fmt::format("statx tells an alignment of {} for direct I/O; {}",
                                        probe.facts.dio_offset_align, counters);
  return true;
}

FileProbe buffered(int fd, FileProbe probe, Switch want, std::string why, const std::string& name) {
  if (want == Switch::on)
    throw_error(
        Errc::unsupported,
        "{}: direct I/O cannot be had: {}; choose another nvme_path, or set io.direct = auto", name,
        why);
  if (const int error = set_direct(fd, false); error != 0)
    throw_error(Errc::io_error, "{}: O_DIRECT cannot be turned off: {}", name,
                sys::errno_text(error));
  probe.direct = false;
  probe.how = std::move(why);
  probe.dsync = !probe.facts.is_memory;
  return probe;
}

}  // namespace

FileProbe probe_file(int fd, Switch want, const std::string& name) {
  FileProbe probe;
  if (const int error = sys::file_facts(fd, probe.facts); error != 0)
    throw_error(Errc::io_error, "{}: fstat: {}", name, sys::errno_text(error));
  probe.alignment =
      std::max({page_bytes, probe.facts.dio_memory_align, probe.facts.dio_offset_align});

  if (want == Switch::off) return buffered(fd, probe, want, "io.direct is off", name);
  if (probe.facts.is_memory)
    return buffered(fd, probe, want, probe.facts.fs_name + " keeps data in memory", name);
  if (const int error = set_direct(fd, true); error != 0)
    return buffered(
        fd, probe, want,
        fmt::format("{} refuses O_DIRECT: {}", probe.facts.fs_name, sys::errno_text(error)), name);

  sys::DeviceCounters before, after;
  const bool counted = sys::device_counters(probe.facts.device, before);
  const Trial trial = try_transfers(fd, probe.alignment, name);
  if (trial.error == ENOSPC || trial.error == EDQUOT || trial.error == EFBIG)
    throw_error(Errc::no_space, "{}: {}: {}", name, trial.what, sys::errno_text(trial.error));
  if (trial.error != 0)
    return buffered(fd, probe, want,
                    fmt::format("{} takes O_DIRECT, but {} failed: {}", probe.facts.fs_name,
                                trial.what, sys::errno_text(trial.error)),
                    name);
  const bool still_counted = counted && sys::device_counters(probe.facts.device, after);
  std::string how;
  if (!proven(probe, trial, still_counted, before, after, how))
    return buffered(fd, probe, want, std::move(how), name);
  probe.direct = true;
  probe.how = std::move(how);
  return probe;
}

}  // namespace spillway::io
