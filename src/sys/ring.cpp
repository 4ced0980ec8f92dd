#include "sys/ring.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <utility>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/clock.h"
#include "sys/file.h"
#include "sys/process.h"
#include "sys/process_fd.h"
#include "sys/verdict.h"

// Newer than Debian 12's liburing 2.3 knows, or absent from older ones; the kernel decides.
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

namespace spillway::sys {
namespace {

constexpr std::int64_t max_fixed_bytes = GiB;  // one registered buffer
constexpr unsigned buffer_slots = 1024;        // 1 TiB
constexpr unsigned file_slots = 128;
constexpr unsigned spare_entries = 8;  // beside the transfers: the wake-up's poll

struct Flags {
  unsigned bits;
  std::array<const char*, 2> names;
};
// Best first; a kernel that does not know a flag says EINVAL.
constexpr std::array<Flags, 4> attempts{{
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, {"SINGLE_ISSUER", "DEFER_TASKRUN"}},
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, {"SINGLE_ISSUER", "COOP_TASKRUN"}},
    {IORING_SETUP_COOP_TASKRUN, {"COOP_TASKRUN", nullptr}},
    {0, {nullptr, nullptr}},
}};

int io_uring_disabled() {
  std::FILE* const file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (file == nullptr) return 0;
  int value = 0;
  const bool read = std::fscanf(file, "%d", &value) == 1;
  std::fclose(file);
  return read ? value : 0;
}

std::string refusal(const char* call, int error) {
  std::string text = fmt::format("{}: {}", call, errno_text(error));
  const int disabled = io_uring_disabled();
  if (error == EPERM && disabled != 0) {
    text += fmt::format(
        "; kernel.io_uring_disabled is {}: sysctl -w kernel.io_uring_disabled=0 "
        "allows it",
        disabled);
  } else if (error == EPERM || error == ENOSYS) {
    text +=
        "; a seccomp filter refuses it, or the kernel is too old: allow io_uring_setup, "
        "io_uring_enter and io_uring_register in the container's seccomp profile";
  } else if (error == ENOMEM) {
    text += "; raise RLIMIT_MEMLOCK (ulimit -l), or lower io.queue_depth";
  }
  return text;
}

std::string memlock_limit_text() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited"
                                         : format_bytes(static_cast<std::int64_t>(limit.rlim_cur));
}

struct FixedBuffer {
  std::byte* at = nullptr;
  std::int64_t bytes = 0;
  unsigned index = 0;
};

}  // namespace

struct Ring::Impl {
  explicit Impl(const Options& wanted) : options(wanted) {}

  int make_ring(std::string& why);
  int check_operations(std::string& why);
  int send_nop(std::string& why);
  int register_files(std::string& why);
  void make_event();
  void arm();
  io_uring_sqe* entry();
  int send_and_wait(std::int64_t timeout_ns);
  int poll_and_fetch(std::int64_t timeout_ns);
  std::size_t take(std::span<RingResult> into);
  void drain_event() noexcept;
  const FixedBuffer* fixed(const std::byte* data, std::int64_t bytes);
  int set_buffer(unsigned index, std::byte* at, std::int64_t bytes);

  Options options;
  io_uring ring{};
  bool made = false;
  std::vector<std::string> features, refusals;
  ProcessFd event;         // wakes a waiting ring
  ProcessFd hang_up;       // reads the end of the ring
  bool armed = false;      // the ring polls `event`
  std::vector<int> files;  // by slot; the last one holds the pipe
  bool has_files = false;
  bool has_buffer_table = false;
  std::vector<bool> buffer_used;
  std::vector<FixedBuffer> buffers;  // by address
  std::size_t last_buffer = 0;
  std::int64_t in_flight = 0;
};

Ring::Ring(const Options& options) : impl_(std::make_unique<Impl>(options)) {
  // Before open(), so that a wake() that comes too early is kept.
  impl_->make_event();
}
Ring::~Ring() { close(); }

const std::vector<std::string>& Ring::features() const { return impl_->features; }
const std::vector<std::string>& Ring::refusals() const { return impl_->refusals; }

void Ring::Impl::make_event() {
  event = ProcessFd(UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}

int Ring::open(std::string& why) {
  Impl& self = *impl_;
  if (self.event.get() < 0) {
    why = fmt::format("eventfd: {}; raise RLIMIT_NOFILE (ulimit -n)", errno_text(EMFILE));
    return EMFILE;
  }
  int error = self.make_ring(why);
  if (error == 0) error = self.check_operations(why);
  if (error == 0) error = self.send_nop(why);
  if (error == 0) error = self.register_files(why);
  if (error != 0) {
    close();
    return error;
  }
  // A child must not keep the ring's pages: they hold its file.
  io_uring_ring_dontfork(&self.ring);
  return 0;
}

int Ring::Impl::make_ring(std::string& why) {
  const unsigned entries = options.depth + spare_entries;
  // The memory of a ring closed a moment ago is given back to the limit only after 6 to 19 ms.
  const TimePoint patience = Clock::now() + std::chrono::milliseconds(30);
  // With deferred task work a completion does not wake who polls the descriptor.
  for (std::size_t i = options.poll_wait ? attempts.size() - 1 : 0; i < attempts.size();) {
    io_uring_params params{};
    // Every transfer and every wake-up may complete before we look: no overflow.
    params.flags = attempts[i].bits | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = 4 * entries;
    const int status = io_uring_queue_init_params(entries, &ring, &params);
    if (status == 0) {
      made = true;
      close_in_child(ring.ring_fd);
      for (const char* name : attempts[i].names)
        if (name != nullptr) features.emplace_back(name);
      return 0;
    }
    if (status == -EINVAL && i + 1 < attempts.size()) {
      ++i;
    } else if (status == -ENOMEM && Clock::now() < patience) {
      const timespec nap{0, 2'000'000};
      nanosleep(&nap, nullptr);
    } else {
      why = refusal("io_uring_setup", -status);
      return -status;
    }
  }
  return ENOSYS;
}

int Ring::Impl::check_operations(std::string& why) {
  constexpr unsigned most = 64;
  alignas(io_uring_probe)
      std::array<std::byte, sizeof(io_uring_probe) + most * sizeof(io_uring_probe_op)>
          room{};
  auto* const probe = reinterpret_cast<io_uring_probe*>(room.data());
  const int status = io_uring_register_probe(&ring, probe, most);
  if (status < 0) {
    why = refusal("io_uring_register", -status);
    return -status;
  }
  for (const int op : {IORING_OP_NOP, IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READ_FIXED,
                       IORING_OP_WRITE_FIXED, IORING_OP_POLL_ADD}) {
    if (io_uring_opcode_supported(probe, op) == 0) {
      why = fmt::format("io_uring of this kernel lacks operation {}: Linux 5.6 or newer is needed",
                        op);
      return ENOSYS;
    }
  }
  return 0;
}

int Ring::Impl::send_nop(std::string& why) {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  io_uring_prep_nop(sqe);
  io_uring_sqe_set_data(sqe, nullptr);
  int status = 0;
  do status = io_uring_submit_and_wait(&ring, 1);
  while (status == -EINTR || status == -EAGAIN);
  if (status < 0) {
    why = refusal("io_uring_enter", -status);
    return -status;
  }
  io_uring_cqe* cqe = nullptr;
  status = io_uring_peek_cqe(&ring, &cqe);
  if (status == 0) {
    status = cqe->res;
    io_uring_cqe_seen(&ring, cqe);
  }
  if (status < 0) why = refusal("a NOP through io_uring", -status);
  return status < 0 ? -status : 0;
}

int Ring::Impl::register_files(std::string& why) {
  std::array<int, 2> pipe_ends{-1, -1};
  if (pipe2(pipe_ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    why = fmt::format("pipe: {}; raise RLIMIT_NOFILE (ulimit -n)", errno_text(errno));
    return errno;
  }
  const ProcessFd write_end{UniqueFd(pipe_ends[1])};
  hang_up = ProcessFd(UniqueFd(pipe_ends[0]));

  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const auto slots = static_cast<unsigned>(std::min<rlim_t>(file_slots, limit.rlim_cur));
  std::vector<int> table(slots, -1);
  table.back() = write_end.get();
  const int status = io_uring_register_files(&ring, table.data(), slots);
  if (status == 0) {
    has_files = true;
    files.assign(slots, -1);
    files.back() = write_end.get();  // never handed out
    features.emplace_back("registered files");
    return 0;
  }
  hang_up.reset();
  if (verdict_of(-status) == Verdict::lost) {
    why = refusal("io_uring_register", -status);
    return -status;
  }
  refusals.push_back(fmt::format("files are not registered: {}", errno_text(-status)));
  return 0;
}

int Ring::add_file(int fd) {
  Impl& self = *impl_;
  if (!self.has_files) return -1;
  const auto free = std::find(self.files.begin(), self.files.end(), -1);
  if (free == self.files.end()) return -1;
  const auto slot = static_cast<unsigned>(free - self.files.begin());
  if (io_uring_register_files_update(&self.ring, slot, &fd, 1) != 1) return -1;
  *free = fd;
  return static_cast<int>(slot);
}

void Ring::remove_file(int slot) {
  Impl& self = *impl_;
  if (!self.made || slot < 0) return;
  const int none = -1;
  io_uring_register_files_update(&self.ring, static_cast<unsigned>(slot), &none, 1);
  self.files[static_cast<std::size_t>(slot)] = -1;
}

int Ring::Impl::set_buffer(unsigned index, std::byte* at, std::int64_t bytes) {
  const iovec part{at, static_cast<std::size_t>(bytes)};
  const __u64 tag = 0;
  const int status = io_uring_register_buffers_update_tag(&ring, index, &part, &tag, 1);
  return status < 0 ? -status : 0;
}

int Ring::add_memory(std::span<std::byte> memory, std::string& why) {
  Impl& self = *impl_;
  const auto bytes = static_cast<std::int64_t>(memory.size());
  const auto explain = [&](int error) {
    why = fmt::format("io_uring cannot register {} ({} bytes): {}", format_bytes(bytes), bytes,
                      errno_text(error));
    if (error == ENOMEM)
      why += fmt::format(
          "; RLIMIT_MEMLOCK is {}, per user over all rings: raise it with ulimit -l "
          "or in /etc/security/limits.conf",
          memlock_limit_text());
    return error;
  };
  if (!self.has_buffer_table) {
    const int status = io_uring_register_buffers_sparse(&self.ring, buffer_slots);
    if (status < 0) return explain(-status);
    self.has_buffer_table = true;
    self.buffer_used.assign(buffer_slots, false);
  }
  const std::size_t before = self.buffers.size();
  int error = 0;
  for (std::int64_t from = 0; from < bytes && error == 0; from += max_fixed_bytes) {
    const auto free = std::find(self.buffer_used.begin(), self.buffer_used.end(), false);
    if (free == self.buffer_used.end()) {
      error = ENOSPC;
      break;
    }
    const FixedBuffer part{memory.data() + from, std::min(max_fixed_bytes, bytes - from),
                           static_cast<unsigned>(free - self.buffer_used.begin())};
    error = self.set_buffer(part.index, part.at, part.bytes);
    if (error != 0) break;
    *free = true;
    self.buffers.push_back(part);
  }
  if (error != 0) {
    for (std::size_t i = before; i < self.buffers.size(); ++i) {
      self.set_buffer(self.buffers[i].index, nullptr, 0);
      self.buffer_used[self.buffers[i].index] = false;
    }
    self.buffers.resize(before);
    return explain(error);
  }
  std::sort(self.buffers.begin(), self.buffers.end(),
            [](const FixedBuffer& a, const FixedBuffer& b) { return a.at < b.at; });
  self.last_buffer = 0;
  return 0;
}

void Ring::remove_memory(std::span<std::byte> memory) {
  Impl& self = *impl_;
  if (!self.made) return;
  std::erase_if(self.buffers, [&](const FixedBuffer& buffer) {
    if (buffer.at < memory.data() || buffer.at >= memory.data() + memory.size()) return false;
    self.set_buffer(buffer.index, nullptr, 0);
    self.buffer_used[buffer.index] = false;
    return true;
  });
  self.last_buffer = 0;
}

// Null where no single registered buffer holds all of it.
const FixedBuffer* Ring::Impl::fixed(const std::byte* data, std::int64_t bytes) {
  const auto holds = [&](const FixedBuffer& buffer) {
    return data >= buffer.at && data + bytes <= buffer.at + buffer.bytes;
  };
  if (buffers.empty()) return nullptr;
  if (holds(buffers[last_buffer])) return &buffers[last_buffer];
  const auto above = std::upper_bound(
      buffers.begin(), buffers.end(), data,
      [](const std::byte* address, const FixedBuffer& buffer) { return address < buffer.at; });
  if (above == buffers.begin() || !holds(above[-1])) return nullptr;
  last_buffer = static_cast<std::size_t>(above - buffers.begin()) - 1;
  return &buffers[last_buffer];
}

io_uring_sqe* Ring::Impl::entry() {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
  SPILLWAY_CHECK(sqe != nullptr, "more transfers were started than the ring has entries");
  return sqe;
}

void Ring::start(const RingTransfer& transfer) {
  Impl& self = *impl_;
  io_uring_sqe* const sqe = self.entry();
  const int fd = transfer.slot >= 0 ? transfer.slot : transfer.fd;
  const auto bytes = static_cast<unsigned>(transfer.bytes);
  const auto offset = static_cast<__u64>(transfer.offset);
  if (const FixedBuffer* const buffer = self.fixed(transfer.data, transfer.bytes)) {
    const auto index = static_cast<int>(buffer->index);
    if (transfer.write) {
      io_uring_prep_write_fixed(sqe, fd, transfer.data, bytes, offset, index);
    } else {
      io_uring_prep_read_fixed(sqe, fd, transfer.data, bytes, offset, index);
    }
  } else if (transfer.write) {
    io_uring_prep_write(sqe, fd, transfer.data, bytes, offset);
  } else {
    io_uring_prep_read(sqe, fd, transfer.data, bytes, offset);
  }
  if (transfer.slot >= 0) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
  if (transfer.write && transfer.dsync) sqe->rw_flags = RWF_DSYNC;
  io_uring_sqe_set_data(sqe, transfer.tag);
  ++self.in_flight;
}

// Keeps one poll of the event in the ring; kernels before 5.13 end it with every event.
void Ring::Impl::arm() {
  if (armed || options.poll_wait) return;
  io_uring_sqe* const sqe = entry();
  io_uring_prep_poll_multishot(sqe, event.get(), POLLIN);
  io_uring_sqe_set_data(sqe, nullptr);
  armed = true;
}

void Ring::Impl::drain_event() noexcept {
  std::uint64_t count = 0;
  while (read(event.get(), &count, sizeof count) < 0 && errno == EINTR) {
  }
}

int Ring::Impl::send_and_wait(std::int64_t timeout_ns) {
  if (timeout_ns == 0 || io_uring_cq_ready(&ring) > 0) return io_uring_submit_and_get_events(&ring);
  io_uring_cqe* cqe = nullptr;
  if (timeout_ns < 0) return io_uring_submit_and_wait_timeout(&ring, &cqe, 1, nullptr, nullptr);
  __kernel_timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  return io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &timeout, nullptr);
}

int Ring::Impl::poll_and_fetch(std::int64_t timeout_ns) {
  int status = io_uring_submit(&ring);
  if (status < 0) return status;
  if (timeout_ns != 0 && io_uring_cq_ready(&ring) == 0) {
    std::array<pollfd, 2> both{{{ring.ring_fd, POLLIN, 0}, {event.get(), POLLIN, 0}}};
    const timespec limit{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
    if (ppoll(both.data(), both.size(), timeout_ns < 0 ? nullptr : &limit, nullptr) < 0)
      return -errno;
    if ((both[1].revents & POLLIN) != 0) drain_event();
  }
  status = io_uring_get_events(&ring);
  return status;
}

std::size_t Ring::Impl::take(std::span<RingResult> into) {
  std::size_t count = 0;
  std::array<io_uring_cqe*, 64> batch{};
  while (count < into.size()) {
    const auto room = static_cast<unsigned>(std::min(batch.size(), into.size() - count));
    const unsigned got = io_uring_peek_batch_cqe(&ring, batch.data(), room);
    for (unsigned i = 0; i < got; ++i) {
      const io_uring_cqe& cqe = *batch[i];
      if (void* const tag = io_uring_cqe_get_data(&cqe); tag != nullptr) {
        into[count++] = {tag, cqe.res};
        --in_flight;
      } else {
        drain_event();
        if ((cqe.flags & IORING_CQE_F_MORE) == 0) armed = false;
      }
    }
    io_uring_cq_advance(&ring, got);
    if (got < room) break;
  }
  return count;
}

int Ring::wait(std::span<RingResult> into, std::size_t& count, std::int64_t timeout_ns) {
  Impl& self = *impl_;
  self.arm();
  const int status =
      self.options.poll_wait ? self.poll_and_fetch(timeout_ns) : self.send_and_wait(timeout_ns);
  count = self.take(into);
  if (status >= 0 || status == -ETIME || status == -EINTR) return 0;
  if (verdict_of(-status) != Verdict::retry_later) return -status;
  // Short of memory, or completions had to be taken first: entries stay queued for the next call.
  if (count == 0) {
    const timespec nap{0, 1'000'000};
    nanosleep(&nap, nullptr);
  }
  return 0;
}

void Ring::wake() noexcept {
  const std::uint64_t one = 1;
  while (write(impl_->event.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Ring::close() noexcept {
  Impl& self = *impl_;
  if (!self.made) return;
  self.made = false;
  self.has_files = false;
  self.has_buffer_table = false;
  // liburing unmaps; we close, so that no child forked just then keeps the ring alive.
  const int fd = std::exchange(self.ring.ring_fd, -1);
  io_uring_queue_exit(&self.ring);
  forget_and_close(fd);
}

bool Ring::gone(std::int64_t timeout_ns) noexcept {
  Impl& self = *impl_;
  if (self.made) return false;
  if (self.hang_up.get() < 0) return self.in_flight == 0;
  pollfd end{self.hang_up.get(), 0, 0};  // POLLHUP is always reported
  const timespec limit{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  if (ppoll(&end, 1, &limit, nullptr) <= 0 || (end.revents & POLLHUP) == 0) return false;
  self.hang_up.reset();
  self.in_flight = 0;
  return true;
}

}  // namespace spillway::sys
