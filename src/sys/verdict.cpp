#include "sys/verdict.h"

#include <cerrno>

namespace spillway::sys {

Verdict verdict_of(int error) {
  switch (error) {
    case EINTR: return Verdict::retry_now;

    case EAGAIN:  // the queue, or memory for the request, is short right now
    case EBUSY:   // completions must be taken first
    case ENOMEM:
    case ENOBUFS: return Verdict::retry_later;

    case EFAULT:  // memory that is not mapped: a buffer was freed in flight
    case EBADF:   // a descriptor that was closed under us
      return Verdict::bug;

    case EPERM:       // sysctl kernel.io_uring_disabled, or a seccomp filter
    case ENOSYS:      // a kernel without it, or a seccomp filter
    case EOPNOTSUPP:  // an operation that this ring does not do
      return Verdict::lost;

    default: return Verdict::report;
  }
}

Errc errc_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return Errc::no_space;
    case ENOMEM: return Errc::out_of_memory;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::permission_denied;
    case ENOENT: return Errc::not_found;
    case ECANCELED: return Errc::cancelled;
    default: return Errc::io_error;
  }
}

std::string_view advice_for(int error) {
  switch (error) {
    case ENOSPC: return "free space on this file system, or add an nvme_path on another one";
    case EDQUOT: return "raise the disk quota of this user, or choose another nvme_path";
    case EFBIG:
      return "raise RLIMIT_FSIZE (ulimit -f unlimited); it, or the file system, limits the size of "
             "a file";
    case EIO:
    case EREMOTEIO:
    case ENODATA: return "the device failed: look at dmesg and at the drive's SMART data";
    case EROFS:
      return "the file system is read-only: it may have been remounted after an error, see dmesg";
    case EACCES:
    case EPERM: return "check owner, mode and mount options of the nvme_path";
    case EINVAL: return "the file system refused the alignment or the flags: try io.direct = off";
    case EOPNOTSUPP: return "the file system does not support this: try io.direct = off";
    case EAGAIN:
    case ENOMEM:
    case ENOBUFS:
    case EBUSY: return "the kernel is short of memory or queue space: lower io.queue_depth";
    case EMFILE: return "this process has too many files open: raise RLIMIT_NOFILE (ulimit -n)";
    case ENFILE: return "the machine has too many files open: raise sysctl fs.file-max";
    case ESTALE:
    case ENXIO:
    case ENODEV:
    case ENOTCONN: return "the device or the server behind this path has gone: mount it again";
    case ETIMEDOUT: return "the device did not answer in time: see dmesg";
    default: return {};
  }
}

}  // namespace spillway::sys
