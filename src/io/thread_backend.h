#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "io/backend.h"

namespace spillway::io {

/// pread and pwrite on worker threads: for where io_uring is not allowed. Where not even a thread
/// can be had, the I/O thread does the work itself.
class ThreadBackend final : public Backend {
 public:
  /// `threads` workers; 0: as many as pieces may be in flight, at most 16.
  explicit ThreadBackend(std::int64_t threads);
  ~ThreadBackend() override;

  std::string_view name() const override { return "threads"; }
  int open(std::int64_t depth, EngineReport& report, std::string& why) override;
  void start(Piece& piece) override;
  int reap(std::span<Completion> into, std::size_t& count, std::int64_t timeout_ns) override;
  void wake() noexcept override;
  void close() noexcept override;
  bool gone(std::int64_t timeout_ns) noexcept override;

 private:
  struct Job;
  struct Desk;  // shared with the workers, which may outlive us on a dead device

  std::int64_t threads_;
  std::shared_ptr<Desk> desk_;
  std::vector<Job> accepted_;  // not handed to the workers yet
  std::vector<std::thread> workers_;
};

}  // namespace spillway::io
