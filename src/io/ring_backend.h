#pragma once

#include <memory>

#include "io/backend.h"
#include "io/reads_in_flight.h"

namespace spillway::sys {
class Ring;
}

namespace spillway::io {

/// io_uring. ThreadBackend succeeds it where the kernel or a seccomp filter refuses.
class RingBackend final : public Backend {
 public:
  /// `poll_wait`: see EngineOptions. `threads`: of the successor.
  RingBackend(bool poll_wait, std::int64_t threads);
  ~RingBackend() override;

  std::string_view name() const override { return "io_uring"; }
  int open(std::int64_t depth, EngineReport& report, std::string& why) override;
  void start(Piece& piece) override;
  int reap(std::span<Completion> into, std::size_t& count, std::int64_t timeout_ns) override;
  void wake() noexcept override;
  void add_file(DataFile& file) override;
  void remove_file(DataFile& file) override;
  int add_memory(std::span<std::byte> memory, std::string& why) override;
  void remove_memory(std::span<std::byte> memory) override;
  void close() noexcept override;
  bool gone(std::int64_t timeout_ns) noexcept override;
  std::unique_ptr<Backend> successor() override;

 private:
  bool poll_wait_;
  std::unique_ptr<sys::Ring> ring_;
  std::int64_t threads_;
  ReadsInFlight reads_;
};

}  // namespace spillway::io
