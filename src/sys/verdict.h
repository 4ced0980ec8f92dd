#pragma once

#include <string_view>

#include "spillway/error.h"

namespace spillway::sys {

/// What an errno of a transfer means for its request.
enum class Verdict {
  retry_now,    ///< EINTR
  retry_later,  ///< EAGAIN, EBUSY, ENOMEM, ENOBUFS: back off, bounded
  report,       ///< the world's fault: to the request, with file, offset, length
  bug,          ///< EFAULT, EBADF: ours; the request fails and the log says so
  lost,         ///< EPERM, ENOSYS, EOPNOTSUPP of the ring itself: another back-end must take over
};
Verdict verdict_of(int error);

/// The Errc a reported errno becomes (ENOSPC, EDQUOT, EFBIG: no_space; ENOMEM: out_of_memory;
/// EACCES, EPERM, EROFS: permission_denied; the rest io_error).
Errc errc_of(int error);

/// How to mend it, in a few words; empty where there is nothing to say.
std::string_view advice_for(int error);

}  // namespace spillway::sys
