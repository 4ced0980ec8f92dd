#pragma once

#include <signal.h>

#include <string>

namespace spillway::sys {

/// Blocks every signal in the calling thread but those a thread raises by its own fault (SIGSEGV,
/// SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS: blocked, they would kill without a crash report).
/// I/O threads do so first of all: SIGXFSZ would kill the process, and handlers of the engine must
/// not run there.
void block_all_signals() noexcept;

/// All signals blocked in the calling thread for as long as it lives. A thread that is started
/// meanwhile inherits that: no signal can reach it before its first line.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

/// Names the calling thread for debuggers and top (15 characters are kept).
void name_thread(const char* name) noexcept;

/// Asks the scheduler to run the calling thread soon after it wakes, in short turns: it has a few
/// microseconds of work at a time, and a device stands idle until it is done. Needs no privilege
/// (a custom slice of the ordinary class, Linux 6.12); elsewhere nothing happens.
void prefer_latency() noexcept;

/// [s] of processor time that all threads of this process have used, the kernel's part included.
double process_cpu_seconds() noexcept;

/// This process. Kept by what must know later whether it was forked: compare.
int process_id() noexcept;

/// A name of this machine that another host on a shared file system does not have: 16 hex digits
/// of a hash of machine id and host name. It survives a reboot, so that leftovers can be swept
/// (where there is no machine id the boot id stands in, and it does not).
std::string host_tag();

/// Descriptors that a forked child must not keep: an atfork child handler closes them there, so
/// that a child (a Python data loader, say) neither holds our locks nor keeps files alive.
/// Threads: any.
void close_in_child(int descriptor);
/// The end of its life: no child forked meanwhile keeps it open, nor closes what is opened under
/// the same number afterwards.
void forget_and_close(int descriptor) noexcept;

}  // namespace spillway::sys
