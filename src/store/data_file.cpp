#include "store/data_file.h"

#include <algorithm>
#include <cerrno>
#include <functional>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/log.h"
#include "base/throw.h"
#include "io/probe.h"
#include "sys/directory.h"
#include "sys/limits.h"
#include "sys/process.h"
#include "sys/verdict.h"

namespace spillway::store {
namespace {

constexpr std::int64_t probe_bytes = MiB;
// The I/O thread allocates, so it does so in steps: transfers go on between them. tmpfs takes a
// quarter of a second for 1 GiB.
constexpr std::int64_t allocation_step = 256 * MiB;

// They write elsewhere instead of overwriting, whatever was allocated.
bool always_copies(const std::string& file_system) {
  return file_system == "zfs" || file_system == "bcachefs";
}

}  // namespace

DataFile::DataFile(io::Engine& engine, const std::string& nvme_path, const StoreOptions& options)
    : engine_(engine),
      directory_(nvme_path),
      name_(directory_.path() + "/" + InstanceDirectory::data_file_name()) {
  report_.path = nvme_path;
  report_.directory = directory_.path();
  sys::UniqueFd file;
  if (const int error = sys::make_nameless_file(directory_.descriptor(),
                                                InstanceDirectory::data_file_name(), file)) {
    const std::string_view advice = sys::advice_for(error);
    throw_error(sys::errc_of(error), "cannot create {}: {}{}{}", name_, sys::errno_text(error),
                advice.empty() ? "" : "; ", advice);
  }
  file_ = sys::ProcessFd(std::move(file));
  guarantee_space();
  probe(options);
}

DataFile::~DataFile() {
  engine_.remove_file(id_);
  file_.reset();
}

// Must run on the empty file: Btrfs refuses the flag later.
void DataFile::guarantee_space() {
  sys::FileFacts facts;
  if (const int error = sys::file_facts(file_.get(), facts)) {
    throw_error(sys::errc_of(error), "cannot examine {}: {}", name_, sys::errno_text(error));
  }
  report_.file_system = facts.fs_name;
  report_.memory = facts.is_memory;
  if (facts.is_btrfs) {
    if (const int error = sys::disable_copy_on_write(file_.get())) {
      no_guarantee("copy-on-write cannot be turned off: " + sys::errno_text(error));
    }
  } else if (always_copies(facts.fs_name)) {
    no_guarantee(facts.fs_name + " never overwrites in place");
  }
}

void DataFile::no_guarantee(std::string reason) {
  log::warning(
      "the space that Spillway takes on nvme_path {} is not guaranteed ({}): should the disk run "
      "full, writes fail with no_space during a step",
      nvme_path(), reason);
  report_.space_guaranteed = false;
  report_.space_reason = std::move(reason);
}

void DataFile::probe(const StoreOptions& options) {
  int error = 0;
  engine_.call([&] { error = sys::allocate(file_.get(), 0, probe_bytes); });
  if (error == EOPNOTSUPP || error == ENOSYS) {
    allocates_ = false;
    if (report_.space_guaranteed) no_guarantee("it does not support fallocate");
  }
  grow(probe_bytes);
  io::FileProbe found;
  engine_.call([&] { found = io::probe_file(file_.get(), options.direct, name_); });
  report_.direct = found.direct;
  report_.how = found.how;
  report_.alignment = std::max({page_bytes, options.alignment, found.alignment});
  shrink(0);
  io::FileSpec spec;
  spec.fd = file_.get();
  spec.name = name_;
  spec.alignment = report_.alignment;
  spec.dsync = found.dsync;
  id_ = report_.file = engine_.add_file(spec);
}

std::int64_t DataFile::free_space() const {
  std::int64_t bytes = 0;
  if (const int error = sys::free_space(file_.get(), bytes)) {
    throw_error(sys::errc_of(error), "cannot see how much is free on nvme_path {}: {}", nvme_path(),
                sys::errno_text(error));
  }
  return bytes;
}

void DataFile::throw_no_room(int error, std::int64_t size) const {
  std::int64_t free = 0;
  static_cast<void>(sys::free_space(file_.get(), free));
  if (error == EFBIG) {
    throw_error(Errc::no_space,
                "nvme_path {} needs a file of {} ({} bytes), {} more than now: {}; raise "
                "RLIMIT_FSIZE (ulimit -f unlimited), or spread over several paths",
                nvme_path(), format_bytes(size), size, format_bytes(size - size_),
                sys::errno_text(error));
  }
  if (sys::errc_of(error) == Errc::no_space) {
    throw_error(Errc::no_space,
                "nvme_path {} needs {} ({} bytes) more, and {} ({} bytes) are free: {}; {}",
                nvme_path(), format_bytes(size - size_), size - size_, format_bytes(free), free,
                sys::errno_text(error),
                error == EDQUOT ? sys::advice_for(error)
                                : "free space there, or add a path on another file system to "
                                  "nvme_path");
  }
  throw_error(sys::errc_of(error), "cannot allocate {} on nvme_path {}: {}",
              format_bytes(size - size_), nvme_path(), sys::errno_text(error));
}

int DataFile::allocate(std::int64_t from, std::int64_t to) {
  int error = 0;
  const auto work = [&] {
    error = allocates_ ? sys::allocate(file_.get(), from, to) : sys::set_size(file_.get(), to);
  };
  // By reference: without an allocation, which could fail between two steps.
  engine_.call(std::ref(work));
  return error;
}

void DataFile::grow(std::int64_t size) {
  if (size <= size_) return;
  // Known beforehand in most cases, and then the disk is not filled to the brim first.
  // Some report nothing at all (tmpfs without a limit, FUSE): there the allocation tells.
  const std::int64_t free = free_space();
  if (free > 0 && free < size - size_) throw_no_room(ENOSPC, size);
  if (report_.memory) require_memory(size - size_);
  for (std::int64_t at = size_; at < size;) {
    const std::int64_t to = std::min(size, at + allocation_step);
    if (const int error = allocate(at, to)) {
      const std::int64_t before = size_.exchange(size);  // the rest may have been allocated
      shrink(before);
      size_ = before;
      throw_no_room(error, size);
    }
    at = to;
  }
  size_ = size;
}

// A file system in memory promises what the machine may not have: the OOM killer gives no errno.
void DataFile::require_memory(std::int64_t bytes) const {
  const sys::MemoryLimits limits = sys::memory_limits();
  const std::int64_t room = std::min(limits.available, limits.cgroup_available);
  if (bytes <= room) return;
  throw_error(
      Errc::does_not_fit,
      "nvme_path {} is on {}, which keeps data in memory: {} more bytes do not fit in the {} "
      "that the machine (or its cgroup) has left; name a directory on a disk",
      nvme_path(), report_.file_system, bytes, room);
}

void DataFile::shrink(std::int64_t size) noexcept {
  if (size >= size_) return;
  int error = 0;
  const auto cut = [&] { error = sys::set_size(file_.get(), size); };
  try {
    engine_.call(std::ref(cut));  // by reference: without an allocation
  } catch (const std::exception& trouble) {
    // The engine is shut down: the space goes when the file is closed.
    log::debug("{} keeps its size: {}", name_, trouble.what());
    return;
  }
  if (error != 0) {
    log::warning("cannot give space on nvme_path {} back: {}", nvme_path(), sys::errno_text(error));
    return;
  }
  size_ = size;
}

PathReport DataFile::report() const {
  PathReport report = report_;
  report.data_file = fmt::format("/proc/{}/fd/{}", sys::process_id(), file_.get());
  report.allocated_bytes = size_;
  report.read_bytes = engine_.read_stats(id_).bytes;
  report.written_bytes = engine_.write_stats(id_).bytes;
  return report;
}

}  // namespace spillway::store
