#include "sys/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace spillway::sys {
namespace {

// 0 or errno of a call that returns -1; network file systems may answer EINTR.
template <typename Call>
int status_of(Call&& call) noexcept {
  while (call() < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int open_in(int parent, const char* name, int flags, mode_t mode, UniqueFd& fd) noexcept {
  int opened = -1;
  const int error =
      status_of([&] { return opened = ::openat(parent, name, flags | O_CLOEXEC, mode); });
  if (error == 0) fd.reset(opened);
  return error;
}

// The C library declares flock() in a header whose name this folder's sys/file.h hides.
int lock(int fd, int operation) noexcept {
  return status_of([=] { return ::syscall(SYS_flock, fd, operation); });
}

constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

// A umask may have taken even our own right to open it; O_PATH asks for none.
int open_made(int parent, const char* name, UniqueFd& directory) noexcept {
  const int error = open_in(parent, name, directory_flags, 0, directory);
  if (error != EACCES) return error;
  UniqueFd path;
  if (const int failed = open_in(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, path)) {
    return failed;
  }
  const std::string link = "/proc/self/fd/" + std::to_string(path.get());
  if (::chmod(link.c_str(), S_IRWXU) != 0) return errno;
  return open_in(parent, name, directory_flags, 0, directory);
}

}  // namespace

int open_directory(const std::string& path, UniqueFd& directory) noexcept {
  return open_in(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY, 0, directory);
}

int open_directory_in(int parent, const std::string& name, UniqueFd& directory) noexcept {
  return open_in(parent, name.c_str(), directory_flags, 0, directory);
}

int make_directory_in(int parent, const std::string& name, UniqueFd& directory) noexcept {
  if (::mkdirat(parent, name.c_str(), S_IRWXU) != 0) return errno;
  UniqueFd made;
  int error = open_made(parent, name.c_str(), made);
  if (error == 0) error = status_of([&] { return ::fchmod(made.get(), S_IRWXU); });
  if (error != 0) {
    ::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
    return error;
  }
  directory = std::move(made);
  return 0;
}

int remove_directory_in(int parent, const std::string& name) noexcept {
  return ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 ? 0 : errno;
}

int remove_file_in(int parent, const std::string& name) noexcept {
  return ::unlinkat(parent, name.c_str(), 0) == 0 ? 0 : errno;
}

int list_directory(int directory, std::vector<std::string>& names) {
  names.clear();
  // A description of its own: the position of a directory is part of it.
  UniqueFd own;
  if (const int error = open_in(directory, ".", O_RDONLY | O_DIRECTORY, 0, own)) return error;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), &::closedir);
  if (!stream) return errno;
  static_cast<void>(own.release());
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(stream.get());
    if (entry == nullptr) return errno;
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
}

int ownership(int fd, Ownership& of) noexcept {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return errno;
  of.is_directory = S_ISDIR(facts.st_mode);
  of.ours = facts.st_uid == ::geteuid();
  of.mode = facts.st_mode & 07777u;
  return 0;
}

int try_lock(int fd) noexcept { return lock(fd, LOCK_EX | LOCK_NB); }

int unlock(int fd) noexcept { return lock(fd, LOCK_UN); }

int make_nameless_file(int directory, const std::string& fallback, UniqueFd& file) noexcept {
  UniqueFd made;
  // O_EXCL: nobody can give it a name later.
  int error = open_in(directory, ".", O_TMPFILE | O_EXCL | O_RDWR, S_IRUSR | S_IWUSR, made);
  // Kernels and file systems without O_TMPFILE see a directory that is opened for writing.
  if (error == EOPNOTSUPP || error == EISDIR || error == EINVAL || error == ENOENT ||
      error == ENOSYS) {
    error = open_in(directory, fallback.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR,
                    S_IRUSR | S_IWUSR, made);
    if (error == 0) error = remove_file_in(directory, fallback);
  }
  if (error == 0) error = status_of([&] { return ::fchmod(made.get(), S_IRUSR | S_IWUSR); });
  if (error == 0) file = std::move(made);
  return error;
}

int disable_copy_on_write(int file) noexcept {
  int flags = 0;
  if (::ioctl(file, FS_IOC_GETFLAGS, &flags) != 0) return errno;
  flags |= FS_NOCOW_FL;
  if (::ioctl(file, FS_IOC_SETFLAGS, &flags) != 0) return errno;
  // Some mounts take the flag and drop it.
  int now = 0;
  if (::ioctl(file, FS_IOC_GETFLAGS, &now) != 0) return errno;
  return (now & FS_NOCOW_FL) != 0 ? 0 : EOPNOTSUPP;
}

int allocate(int file, std::int64_t from, std::int64_t to) noexcept {
  return status_of([=] { return ::fallocate(file, 0, from, to - from); });
}

int set_size(int file, std::int64_t bytes) noexcept {
  return status_of([=] { return ::ftruncate(file, bytes); });
}

}  // namespace spillway::sys
