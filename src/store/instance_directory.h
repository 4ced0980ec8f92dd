#pragma once

#include <string>

#include "sys/file.h"
#include "sys/process_fd.h"

namespace spillway::store {

/// This store's own directory under one nvme_path: locked as long as it lives, removed at the end.
///
/// It is made under a lock on the nvme_path itself, which also guards the sweep of directories that
/// a killed process left behind. A directory is swept when everything says that it is ours and
/// dead: the exact form of the name, this host, a real directory of this user, a free lock, and
/// only our own file names in it. Nothing else is touched.
class InstanceDirectory {
 public:
  /// Throws Error, each naming the path: not_found, permission_denied, invalid_config (no
  /// directory), unsupported (no locks there), timeout (somebody keeps the path locked for
  /// `lock_seconds`), no_space, io_error. Nothing is left.
  explicit InstanceDirectory(const std::string& nvme_path, double lock_seconds = 10);
  /// Removes the directory, if remove() has not.
  ~InstanceDirectory();
  InstanceDirectory(const InstanceDirectory&) = delete;
  InstanceDirectory& operator=(const InstanceDirectory&) = delete;

  const std::string& nvme_path() const { return nvme_path_; }
  std::string path() const;
  int descriptor() const { return own_.get(); }

  /// Files in it should be closed by then: some file systems keep a name for them until that time.
  /// Logs where something is in the way; it stays then.
  void remove() noexcept;

  /// The name of the data file where it must have one for a moment.
  static const std::string& data_file_name();

 private:
  void lock_parent(double seconds);
  void sweep() noexcept;
  void sweep_one(const std::string& name);
  void make();

  std::string nvme_path_;
  std::string name_;
  sys::ProcessFd parent_;  // the nvme_path, by whatever name it goes now
  sys::ProcessFd own_;     // holds our lock
  bool removed_ = false;
};

}  // namespace spillway::store
