// A pass-through file system that fails when it is told to: the process behind test::FuseDisk.
//
//   spillway_fuse_disk BACKING MOUNTPOINT direct|cached
//
// Cached: the kernel's page cache takes what is written, and gives it to us when it is flushed.
// Descriptor 3 is the shared memory with the FuseControl, descriptor 4 a pipe whose other end the
// test holds: when that is closed, however the test ended, the mount goes away.
#define FUSE_USE_VERSION 35

#include <dirent.h>
#include <fcntl.h>
#include <fuse.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <thread>

#include "support/fuse_control.h"

namespace {

using spillway::test::FuseControl;

FuseControl* control = nullptr;
int root = -1;
bool cached = false;

// "" for the root itself: openat and its kind take "." for it.
const char* below(const char* path) { return path[1] == '\0' ? "." : path + 1; }

int status(int result) { return result == 0 ? 0 : -errno; }

int file_of(const fuse_file_info* info) { return static_cast<int>(info->fh); }

// What the rule makes of one operation: -errno, or the bytes that may move.
std::int64_t judge(int kind, std::int64_t bytes) {
  const std::int64_t number = control->operations.fetch_add(1);
  if ((control->kinds & kind) == 0 || number < control->from || number >= control->to) return bytes;
  control->hits.fetch_add(1);
  if (const int delay = control->delay_us; delay > 0) ::usleep(static_cast<useconds_t>(delay));
  control->waiting.fetch_add(1);
  while (control->hold != 0) ::usleep(500);
  control->waiting.fetch_sub(1);
  if (const int error = control->error; error != 0) return -error;
  const std::int64_t most = control->short_bytes;
  return most >= 0 && most < bytes ? most : bytes;
}

void* on_init(fuse_conn_info* connection, fuse_config* config) {
  config->direct_io = cached ? 0 : 1;  // else nothing is answered by the page cache
  if (cached) connection->want |= FUSE_CAP_WRITEBACK_CACHE;
  config->use_ino = 1;
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
  control->mounted = 1;
  return nullptr;
}

int on_getattr(const char* path, struct stat* facts, fuse_file_info* info) {
  if (info != nullptr) return status(::fstat(file_of(info), facts));
  return status(::fstatat(root, below(path), facts, AT_SYMLINK_NOFOLLOW));
}
int on_mkdir(const char* path, mode_t mode) { return status(::mkdirat(root, below(path), mode)); }
int on_unlink(const char* path) { return status(::unlinkat(root, below(path), 0)); }
int on_rmdir(const char* path) { return status(::unlinkat(root, below(path), AT_REMOVEDIR)); }
int on_rename(const char* from, const char* to, unsigned flags) {
  return status(::renameat2(root, below(from), root, below(to), flags));
}
int on_chmod(const char* path, mode_t mode, fuse_file_info* info) {
  if (info != nullptr) return status(::fchmod(file_of(info), mode));
  return status(::fchmodat(root, below(path), mode, 0));
}
int on_chown(const char* path, uid_t user, gid_t group, fuse_file_info*) {
  return status(::fchownat(root, below(path), user, group, AT_SYMLINK_NOFOLLOW));
}

int on_utimens(const char* path, const timespec times[2], fuse_file_info* info) {
  if (info != nullptr) return status(::futimens(file_of(info), times));
  return status(::utimensat(root, below(path), times, AT_SYMLINK_NOFOLLOW));
}

int open_below(const char* path, int flags, mode_t mode, fuse_file_info* info) {
  // The page cache reads what is written in part, and appends by itself.
  if (cached && (flags & O_ACCMODE) == O_WRONLY) flags = (flags & ~O_ACCMODE) | O_RDWR;
  const int fd = ::openat(root, below(path), (flags & ~(O_DIRECT | O_APPEND)) | O_CLOEXEC, mode);
  if (fd < 0) return -errno;
  info->fh = static_cast<std::uint64_t>(fd);
  info->direct_io = cached ? 0 : 1;
  return 0;
}
int on_create(const char* path, mode_t mode, fuse_file_info* info) {
  return open_below(path, info->flags | O_CREAT, mode, info);
}
int on_open(const char* path, fuse_file_info* info) {
  return open_below(path, info->flags, 0, info);
}
int on_release(const char*, fuse_file_info* info) { return status(::close(file_of(info))); }

int on_truncate(const char* path, off_t size, fuse_file_info* info) {
  if (info != nullptr) return status(::ftruncate(file_of(info), size));
  const int fd = ::openat(root, below(path), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  const int result = status(::ftruncate(fd, size));
  ::close(fd);
  return result;
}

int on_read(const char*, char* to, std::size_t bytes, off_t offset, fuse_file_info* info) {
  const std::int64_t allowed = judge(spillway::test::fuse_read, static_cast<std::int64_t>(bytes));
  if (allowed < 0) return static_cast<int>(allowed);
  const ssize_t got = ::pread(file_of(info), to, static_cast<std::size_t>(allowed), offset);
  return got >= 0 ? static_cast<int>(got) : -errno;
}
int on_write(const char*, const char* from, std::size_t bytes, off_t offset, fuse_file_info* info) {
  const std::int64_t allowed = judge(spillway::test::fuse_write, static_cast<std::int64_t>(bytes));
  if (allowed < 0) return static_cast<int>(allowed);
  const ssize_t put = ::pwrite(file_of(info), from, static_cast<std::size_t>(allowed), offset);
  return put >= 0 ? static_cast<int>(put) : -errno;
}
int on_fallocate(const char*, int mode, off_t offset, off_t bytes, fuse_file_info* info) {
  const std::int64_t allowed = judge(spillway::test::fuse_allocate, bytes);
  if (allowed < 0) return static_cast<int>(allowed);
  return status(::fallocate(file_of(info), mode, offset, bytes));
}
int on_fsync(const char*, int, fuse_file_info*) {
  const std::int64_t allowed = judge(spillway::test::fuse_sync, 0);
  return allowed < 0 ? static_cast<int>(allowed) : 0;
}
int on_statfs(const char*, struct statvfs* facts) { return status(::fstatvfs(root, facts)); }

int on_readdir(const char* path, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*,
               fuse_readdir_flags) {
  const int fd = ::openat(root, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  DIR* const directory = ::fdopendir(fd);
  if (directory == nullptr) {
    ::close(fd);
    return -errno;
  }
  while (const dirent* const entry = ::readdir(directory))
    if (fill(buffer, entry->d_name, nullptr, 0, static_cast<fuse_fill_dir_flags>(0)) != 0) break;
  ::closedir(directory);
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) return 2;
  cached = std::string(words[3]) == "cached";
  void* const shared =
      ::mmap(nullptr, sizeof(FuseControl), PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
  root = ::open(words[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (shared == MAP_FAILED || root < 0) return 3;
  control = static_cast<FuseControl*>(shared);

  fuse_operations operations{};
  operations.init = on_init;
  operations.getattr = on_getattr;
  operations.mkdir = on_mkdir;
  operations.unlink = on_unlink;
  operations.rmdir = on_rmdir;
  operations.rename = on_rename;
  operations.chmod = on_chmod;
  operations.chown = on_chown;
  operations.truncate = on_truncate;
  operations.utimens = on_utimens;
  operations.open = on_open;
  operations.create = on_create;
  operations.release = on_release;
  operations.read = on_read;
  operations.write = on_write;
  operations.fallocate = on_fallocate;
  operations.fsync = on_fsync;
  operations.statfs = on_statfs;
  operations.readdir = on_readdir;

  fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&args, "spillway_fuse_disk");
  fuse* const session = fuse_new(&args, &operations, sizeof operations, nullptr);
  if (session == nullptr || fuse_mount(session, words[2]) != 0) return 4;
  std::thread([at = std::string(words[2])] {
    char byte = 0;
    while (::read(4, &byte, 1) > 0 || errno == EINTR) errno = 0;
    ::umount2(at.c_str(), MNT_DETACH);
    ::_exit(0);  // which answers whatever is still held, with an error
  }).detach();
  fuse_loop_config loop{};
  loop.max_idle_threads = 16;
  return fuse_loop_mt(session, &loop) == 0 ? 0 : 5;
}
