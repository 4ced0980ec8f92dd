#include "store/instance_directory.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/throw.h"
#include "store/directory_name.h"
#include "sys/directory.h"
#include "sys/verdict.h"

namespace spillway::store {
namespace {

constexpr int removal_attempts = 300;
constexpr std::chrono::milliseconds removal_pause{2};

[[noreturn]] void throw_for_path(const std::string& path, int error, const char* what) {
  switch (error) {
    case ENOENT:
      throw_error(Errc::not_found,
                  "nvme_path {} does not exist: create it or mount the drive there", path);
    case ENOTDIR:
    case ELOOP:
      throw_error(Errc::invalid_config,
                  "nvme_path {} is not a directory: name the directory that "
                  "may hold swap files",
                  path);
    default: {
      const std::string_view advice = sys::advice_for(error);
      throw_error(sys::errc_of(error), "cannot {} nvme_path {}: {}{}{}", what, path,
                  sys::errno_text(error), advice.empty() ? "" : "; ", advice);
    }
  }
}

}  // namespace

const std::string& InstanceDirectory::data_file_name() {
  static const std::string name = "data";
  return name;
}

InstanceDirectory::InstanceDirectory(const std::string& nvme_path, double lock_seconds)
    : nvme_path_(nvme_path) {
  sys::UniqueFd parent;
  if (const int error = sys::open_directory(nvme_path, parent)) {
    throw_for_path(nvme_path, error, "open");
  }
  parent_ = sys::ProcessFd(std::move(parent));
  lock_parent(lock_seconds);
  sweep();
  make();
  sys::unlock(parent_.get());
}

InstanceDirectory::~InstanceDirectory() { remove(); }

void InstanceDirectory::remove() noexcept {
  if (std::exchange(removed_, true)) return;
  // Still under our lock, so that nobody sweeps it at the same time. File systems in user space and
  // on a network keep a nameless open file under a name of theirs, and remove that a moment after
  // its descriptor was closed.
  int error = sys::remove_directory_in(parent_.get(), name_);
  for (int i = 0; i < removal_attempts && (error == ENOTEMPTY || error == EEXIST); ++i) {
    std::this_thread::sleep_for(removal_pause);
    error = sys::remove_directory_in(parent_.get(), name_);
  }
  if (error != 0 && error != ENOENT) {
    log::warning("{} stays behind: {}", path(), sys::errno_text(error));
  }
}

std::string InstanceDirectory::path() const {
  return nvme_path_ + (nvme_path_.ends_with('/') ? "" : "/") + name_;
}

void InstanceDirectory::lock_parent(double seconds) {
  const TimePoint deadline = deadline_in(seconds);
  for (;;) {
    const int error = sys::try_lock(parent_.get());
    if (error == 0) return;
    if (error != EWOULDBLOCK) {
      throw_error(Errc::unsupported,
                  "nvme_path {} cannot be locked: {}; use a local file system, or mount it with "
                  "locks",
                  nvme_path_, sys::errno_text(error));
    }
    if (Clock::now() >= deadline) {
      throw_error(Errc::timeout,
                  "nvme_path {} has been locked by another process for {} s: a starting instance "
                  "holds it for a moment only; find the holder with `lslocks` and end it",
                  nvme_path_, seconds);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// A sweep is a courtesy: its troubles never stop a new store.
void InstanceDirectory::sweep() noexcept {
  try {
    std::vector<std::string> names;
    if (sys::list_directory(parent_.get(), names) != 0) return;
    const std::string host = sys::host_tag();
    for (const std::string& name : names) {
      const auto parsed = DirectoryName::parse(name);
      if (parsed && parsed->host == host) sweep_one(name);
    }
  } catch (const std::exception& trouble) {
    log::warning("could not sweep {}: {}", nvme_path_, trouble.what());
  }
}

void InstanceDirectory::sweep_one(const std::string& name) {
  sys::UniqueFd opened;
  if (sys::open_directory_in(parent_.get(), name, opened) != 0) return;
  sys::Ownership owner;
  if (sys::ownership(opened.get(), owner) != 0 || !owner.is_directory || !owner.ours) return;
  const sys::ProcessFd stale(std::move(opened));  // a child must not keep the lock that follows
  if (sys::try_lock(stale.get()) != 0) return;    // its owner lives

  std::vector<std::string> inside;
  if (sys::list_directory(stale.get(), inside) != 0) return;
  const bool only_ours = std::all_of(inside.begin(), inside.end(), [](const std::string& file) {
    return file == data_file_name();
  });
  if (!only_ours) {
    log::warning(
        "{}/{} is left by a process of ours that is gone, but holds other files: left alone",
        nvme_path_, name);
    return;
  }
  // A directory by that name, or anything that cannot be unlinked, fails here and stays.
  if (!inside.empty() && sys::remove_file_in(stale.get(), data_file_name()) != 0) return;
  if (sys::remove_directory_in(parent_.get(), name) == 0) {
    log::info("removed {}/{}, which a killed process left", nvme_path_, name);
  }
}

void InstanceDirectory::make() {
  constexpr int attempts = 16;  // of a name that 36^6 others could have
  int error = EEXIST;
  sys::UniqueFd own;
  for (int attempt = 0; attempt < attempts && error == EEXIST; ++attempt) {
    name_ = DirectoryName::make(sys::host_tag()).text();
    error = sys::make_directory_in(parent_.get(), name_, own);
  }
  if (error != 0) throw_for_path(nvme_path_, error, "write to");
  try {
    own_ = sys::ProcessFd(std::move(own));
    error = sys::try_lock(own_.get());
    if (error != 0) {
      throw_error(Errc::unsupported, "{} cannot be locked: {}", path(), sys::errno_text(error));
    }
  } catch (...) {
    sys::remove_directory_in(parent_.get(), name_);
    throw;
  }
}

}  // namespace spillway::store
