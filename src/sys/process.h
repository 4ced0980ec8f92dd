#pragma once

#include <string>

namespace spillway::sys {

/// Blocks every signal in the calling thread. I/O threads do so first of all: SIGXFSZ would kill
/// the process, and handlers of the engine must not run there.
void block_all_signals() noexcept;

/// Names the calling thread for debuggers and top (15 characters are kept).
void name_thread(const char* name) noexcept;

/// The process that called it first for this purpose; compare to find out whether we were forked.
int process_id() noexcept;

/// A name of this machine and boot that another host on a shared file system does not have:
/// 16 hex digits of the machine id and host name.
std::string host_tag();

/// Descriptors that a forked child must not keep: an atfork child handler closes them there, so
/// that a child (a Python data loader, say) neither holds our locks nor keeps files alive.
void close_in_child(int descriptor);
void forget_in_child(int descriptor) noexcept;

}  // namespace spillway::sys
