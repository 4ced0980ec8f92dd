#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sys/file.h"

namespace spillway::sys {

/// Directories and the files in them, reached through descriptors so that a name that is swapped
/// for a link meanwhile leads nowhere. Every call returns 0 or an errno; names are single path
/// components. Threads: any.

/// Follows symbolic links: the path is the user's own word.
int open_directory(const std::string& path, UniqueFd& directory) noexcept;
/// Does not: ELOOP or ENOTDIR for a link.
int open_directory_in(int parent, const std::string& name, UniqueFd& directory) noexcept;
/// Makes and opens a directory of mode 0700 whatever the umask. EEXIST if the name is taken by
/// anything at all; on any other error nothing is left.
int make_directory_in(int parent, const std::string& name, UniqueFd& directory) noexcept;
int remove_directory_in(int parent, const std::string& name) noexcept;
int remove_file_in(int parent, const std::string& name) noexcept;
/// The names in it, without "." and "..", in no order.
int list_directory(int directory, std::vector<std::string>& names);

struct Ownership {
  bool is_directory = false;
  bool ours = false;       ///< its owner is our effective user
  std::uint32_t mode = 0;  ///< permission bits
};
int ownership(int fd, Ownership& of) noexcept;

/// flock, exclusive, without waiting: EWOULDBLOCK where another open file description has it. The
/// lock goes with the last descriptor of the open file description.
int try_lock(int fd) noexcept;
int unlock(int fd) noexcept;

/// A file of mode 0600 without a name (O_TMPFILE), or one named `fallback` and unlinked at once
/// where the file system cannot. Nothing is left on an error.
int make_nameless_file(int directory, const std::string& fallback, UniqueFd& file) noexcept;
/// FS_NOCOW_FL: Btrfs then overwrites in place what is allocated. The file must be empty.
int disable_copy_on_write(int file) noexcept;
/// Allocates [from, to) for good, and the file is at least `to` long. EOPNOTSUPP: the file system
/// cannot promise space. Call it where SIGXFSZ is blocked.
int allocate(int file, std::int64_t from, std::int64_t to) noexcept;
/// ftruncate. Call it where SIGXFSZ is blocked.
int set_size(int file, std::int64_t bytes) noexcept;

}  // namespace spillway::sys
