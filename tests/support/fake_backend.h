#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/align.h"
#include "base/check.h"
#include "io/backend.h"
#include "io/reads_in_flight.h"

namespace spillway::io {

/// One operation as it reached the device.
struct FakeOp {
  std::int64_t number = 0;  ///< 0, 1, 2, ... in the order of their start
  Op op = Op::read;
  Service service = Service::demand;
  std::int64_t offset = 0, bytes = 0;
};

/// A disk in memory that does what a test tells it. Shared by the test and its back-ends; all
/// members may be called from any thread.
class FakeDevice {
 public:
  /// What an operation ends with: bytes moved (cut to what was asked), or -errno.
  using Plan = std::function<std::int64_t(const FakeOp&)>;

  /// `bytes_per_file`: where each file's bytes begin, by its id; 0: all files are one.
  explicit FakeDevice(std::int64_t bytes, std::int64_t bytes_per_file = 0)
      : memory_(static_cast<std::size_t>(bytes)), bytes_per_file_(bytes_per_file) {}

  // -- what the test sets
  void plan(Plan plan) {
    locked([&] { plan_ = std::move(plan); });
  }
  /// Completes in a random order, a few at a time; 0: in order.
  void shuffle(unsigned seed) {
    locked([&] {
      shuffled_ = seed != 0;
      random_.seed(seed);
    });
  }
  /// Holds all completions back until release(): a slow device, or a dead one.
  void hold() {
    locked([&] { held_ = true; });
  }
  void release(std::int64_t operations = INT64_MAX) {
    locked([&] {
      if (operations == INT64_MAX) {
        held_ = false;
      } else {
        allowed_ += operations;
      }
    });
  }
  /// The back-end says `error` when `operations` more have started, and is lost.
  void lose_after(std::int64_t operations, int error) {
    locked([&] {
      loss_at_ = started_ + operations;
      loss_ = error;
    });
  }
  /// Whether a lost back-end has let go of its transfers.
  void let_go(bool gone) {
    locked([&] { let_go_ = gone; });
  }
  /// Gives each file an area of `bytes` of its own, in the order in which they are first used.
  /// Without it all files begin at byte 0: enough where there is only one.
  void separate_files(std::int64_t bytes) {
    locked([&] { area_bytes_ = bytes; });
  }
  void refuse_open(int error) {
    locked([&] { open_error_ = error; });
  }
  void take_memory(bool takes) {
    locked([&] { takes_memory_ = takes; });
  }
  void refuse_memory(int times, int error) {
    locked([&] {
      memory_refusals_ = times;
      memory_error_ = error;
    });
  }

  // -- what it saw
  std::vector<FakeOp> log() const { return read(log_); }
  void keep_log(bool keep) {
    locked([&] { keep_log_ = keep; });
  }
  std::int64_t started() const { return read(started_); }
  std::int64_t in_flight() const { return read(in_flight_); }
  std::int64_t peak_in_flight() const { return read(peak_); }
  std::int64_t peak_bytes(Op op) const { return read(peak_bytes_[static_cast<std::size_t>(op)]); }
  /// Waits until `operations` have started.
  bool wait_started(std::int64_t operations) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return started_ >= operations; });
  }
  std::vector<std::byte>& memory() { return memory_; }  ///< while nothing is in flight

 private:
  friend class FakeBackend;
  template <typename Change>
  void locked(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <typename Value>
  Value read(const Value& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }

  // Where byte 0 of the piece's file lies.
  std::int64_t base_of(const Piece& piece) {
    if (area_bytes_ == 0 || piece.file == nullptr) return 0;
    const auto at = std::find(files_.begin(), files_.end(), piece.file->spec.fd);
    const auto index = at - files_.begin();
    if (at == files_.end()) files_.push_back(piece.file->spec.fd);
    return index * area_bytes_;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t area_bytes_ = 0;
  std::vector<int> files_;
  std::vector<std::byte> memory_;
  const std::int64_t bytes_per_file_;
  Plan plan_;
  bool shuffled_ = false;
  std::mt19937 random_;
  bool held_ = false;
  std::int64_t allowed_ = 0;
  std::int64_t loss_at_ = -1;
  int loss_ = 0;
  bool let_go_ = true;
  int open_error_ = 0;
  bool takes_memory_ = false;
  int memory_refusals_ = 0, memory_error_ = 0;
  bool keep_log_ = true;
  std::vector<FakeOp> log_;
  std::int64_t started_ = 0, in_flight_ = 0, peak_ = 0;
  std::int64_t bytes_[2] = {}, peak_bytes_[2] = {};
};

/// Lets the engine run on a FakeDevice. Its successor runs on the same device and is never lost.
class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(std::shared_ptr<FakeDevice> device, std::string name = "fake")
      : device_(std::move(device)), name_(std::move(name)) {}

  std::string_view name() const override { return name_; }

  int open(std::int64_t depth, EngineReport& report, std::string& why) override {
    const std::lock_guard lock(device_->mutex_);
    pending_.reserve(static_cast<std::size_t>(depth));
    if (device_->open_error_ != 0 && name_ == "fake") {
      why = "the fake refuses";
      return device_->open_error_;
    }
    report.features.emplace_back("fake");
    return 0;
  }

  void start(Piece& piece) override {
    FakeDevice& device = *device_;
    const std::lock_guard lock(device.mutex_);
    const FakeOp op{device.started_++, piece.op, piece.service,
                    piece.offset + device.base_of(piece), piece.bytes};
    if (device.keep_log_) device.log_.push_back(op);
    pending_.push_back({&piece, op, written(piece)});
    const auto way = static_cast<std::size_t>(op.op);
    device.bytes_[way] += op.bytes;
    device.peak_bytes_[way] = std::max(device.peak_bytes_[way], device.bytes_[way]);
    device.peak_ = std::max(device.peak_, ++device.in_flight_);
    reads_.started(piece);
    device.changed_.notify_all();
  }

  int reap(std::span<Completion> into, std::size_t& count, std::int64_t timeout_ns) override {
    FakeDevice& device = *device_;
    count = 0;
    std::unique_lock lock(device.mutex_);
    const auto ready = [&] {
      return woken_ || lost() || (!pending_.empty() && (!device.held_ || device.allowed_ > 0));
    };
    if (timeout_ns < 0) {
      device.changed_.wait(lock, ready);
    } else if (timeout_ns > 0) {
      device.changed_.wait_until(lock, Clock::now() + std::chrono::nanoseconds(timeout_ns), ready);
    }
    woken_ = false;
    if (lost()) return device.loss_;
    if (device.shuffled_) std::shuffle(pending_.begin(), pending_.end(), device.random_);
    std::size_t most = std::min(into.size(), pending_.size());
    if (device.shuffled_ && most > 1) most = 1 + device.random_() % most;
    while (count < most && (!device.held_ || device.allowed_ > 0)) {
      if (device.held_) --device.allowed_;
      reads_.ended(*pending_[count].piece);
      into[count] = {pending_[count].piece, perform(pending_[count])};
      ++count;
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(count));
    return 0;
  }

  void wake() noexcept override {
    const std::lock_guard lock(device_->mutex_);
    woken_ = true;
    device_->changed_.notify_all();
  }

  int add_memory(std::span<std::byte> memory, std::string& why) override {
    {
      const std::lock_guard lock(device_->mutex_);
      if (device_->memory_refusals_ > 0) {
        --device_->memory_refusals_;
        why = "the fake refuses memory";
        return device_->memory_error_;
      }
      if (device_->takes_memory_) return 0;
    }
    return Backend::add_memory(memory, why);
  }

  void close() noexcept override {
    const std::lock_guard lock(device_->mutex_);
    for (const Pending& one : pending_) forget(one.op);
    pending_.clear();
    reads_.forget();
    closed_ = true;
  }
  bool gone(std::int64_t timeout_ns) noexcept override {
    std::unique_lock lock(device_->mutex_);
    return device_->changed_.wait_until(lock, Clock::now() + std::chrono::nanoseconds(timeout_ns),
                                        [&] { return device_->let_go_; });
  }
  std::unique_ptr<Backend> successor() override {
    return std::make_unique<FakeBackend>(device_, "fake threads");
  }

 private:
  struct Pending {
    Piece* piece = nullptr;
    FakeOp op;
    std::size_t written = 0;  // a hash of its bytes, as they were when it began
  };

  static std::size_t written(const Piece& piece) {
    if (piece.op == Op::read) return 0;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    const auto* const bytes = reinterpret_cast<const char*>(piece.data);
    return std::hash<std::string_view>()({bytes, static_cast<std::size_t>(piece.bytes)});
  }

  bool lost() const {
    return name_ == "fake" && device_->loss_at_ >= 0 && device_->started_ >= device_->loss_at_;
  }

  void forget(const FakeOp& op) {
    --device_->in_flight_;
    device_->bytes_[static_cast<std::size_t>(op.op)] -= op.bytes;
  }

  std::int64_t perform(const Pending& one) {
    FakeDevice& device = *device_;
    forget(one.op);
    SPILLWAY_CHECK(one.written == written(*one.piece), "nobody changes what the device is writing");
    std::int64_t result = device.plan_ ? device.plan_(one.op) : one.op.bytes;
    if (result < 0) return result;
    // As a file does: nothing behind its end.
    const auto all = static_cast<std::int64_t>(device.memory_.size());
    const std::int64_t size = device.bytes_per_file_ == 0 ? all : device.bytes_per_file_;
    const std::int64_t base =
        device.bytes_per_file_ * static_cast<std::int64_t>(one.piece->file->id);
    SPILLWAY_CHECK(base + size <= all, "fake device too small for another file");
    result = std::min(result, one.op.bytes);
    if (one.op.op == Op::read) result = std::clamp<std::int64_t>(size - one.op.offset, 0, result);
    SPILLWAY_CHECK(one.op.op == Op::read || one.op.offset + result <= size,
                   "fake device too small");
    std::byte* const at = device.memory_.data() + base + one.op.offset;
    if (one.op.op == Op::read) {
      std::memcpy(one.piece->data, at, static_cast<std::size_t>(result));
    } else {
      std::memcpy(at, one.piece->data, static_cast<std::size_t>(result));
    }
    return result;
  }

  std::shared_ptr<FakeDevice> device_;
  std::string name_;
  std::vector<Pending> pending_;
  ReadsInFlight reads_;  // poisoned, as a ring's
  bool woken_ = false;
  bool closed_ = false;
};

}  // namespace spillway::io
