#include "io/core.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <optional>
#include <system_error>
#include <utility>

#include "base/byte_size.h"
#include "base/check.h"
#include "base/log.h"
#include "base/throw.h"
#include "sys/file.h"
#include "sys/process.h"

namespace spillway::io {
namespace {

EngineOptions checked(EngineOptions options) {
  const auto need = [](bool condition, const char* what) {
    if (!condition) throw_error(Errc::invalid_argument, "I/O engine: {}", what);
  };
  need(options.block_size > 0, "block_size must be greater than 0");
  need(options.queue_depth > 0, "queue_depth must be greater than 0");
  need(options.read_budget > 0, "read_budget must be greater than 0");
  need(options.write_budget > 0, "write_budget must be greater than 0");
  need(options.threads >= 0, "threads must not be negative");
  options.queue_depth = std::min<std::int64_t>(options.queue_depth, 16384);  // the ring's limit
  options.read_budget = std::min(options.read_budget, std::int64_t{1} << 60);
  options.write_budget = std::min(options.write_budget, std::int64_t{1} << 60);
  return options;
}

}  // namespace

Core::Core(std::unique_ptr<Backend> backend, const EngineOptions& options)
    : options_(checked(options)), backend_(std::move(backend)), scheduler_(options_) {}

Core::~Core() = default;

void Core::start(const std::shared_ptr<Core>& core) {
  std::optional<sys::SignalsBlocked> blocked(std::in_place);
  std::unique_lock lock(core->mutex_);
  try {
    core->thread_ = std::thread([core] { core->run(); });
  } catch (const std::system_error& error) {
    throw_error(Errc::out_of_memory,
                "cannot start the I/O thread: {}; raise RLIMIT_NPROC or pids.max",
                sys::errno_text(error.code().value()));
  }
  blocked.reset();
  core->changed_.wait(lock, [&] { return core->opened_; });
  if (core->open_error_ == 0) return;
  lock.unlock();
  core->thread_.join();
  core->joined_ = true;
  if (core->open_error_ == ENOMEM)
    throw_error(Errc::out_of_memory, "the I/O engine cannot be opened: {}", core->open_why_);
  throw_error(Errc::unsupported, "io.engine = {}: {}; io.engine = auto falls back to threads",
              core->backend_->name(), core->open_why_);
}

// Done before and after the look at what runs: its callback may have submitted it again meanwhile.
bool Core::over(const Request& request) const {
  const auto done = [&] { return request.state() == RequestState::done; };
  return done() && running_.load(std::memory_order_acquire) != &request && done();
}

void Core::unlock_and_wake(std::unique_lock<std::mutex>& lock) {
  // While the mutex is free the back-end may be replaced, but it lives as long as we do.
  Backend* const sleeper = asleep_ ? backend_.get() : nullptr;
  asleep_ = false;
  lock.unlock();
  if (sleeper != nullptr) sleeper->wake();
}

bool Core::run_there(const std::function<void()>& work) {
  if (on_io_thread()) {
    work();
    return true;
  }
  Call call;
  call.work = &work;
  std::unique_lock lock(mutex_);
  if (quit_) return false;
  (last_call_ != nullptr ? last_call_->next : calls_) = &call;
  last_call_ = &call;
  unlock_and_wake(lock);
  lock.lock();
  ++waiters_;
  changed_.wait(lock, [&] { return call.done; });
  --waiters_;
  lock.unlock();
  if (call.error) std::rethrow_exception(call.error);
  return true;
}

void Core::call(const std::function<void()>& work) {
  if (on_io_thread())
    throw_error(Errc::would_deadlock, "call() from an I/O callback would wait for itself");
  if (!run_there(work)) throw_error(Errc::shut_down, "the I/O engine has been shut down");
}

DataFile& Core::data_file(FileId file) const {
  const auto index = static_cast<std::size_t>(file);
  if (index >= files_.size() || !files_[index])
    throw_error(Errc::invalid_argument, "the I/O engine knows no file {}", index);
  return *files_[index];
}

FileId Core::add_file(const FileSpec& spec) {
  if (spec.fd < 0 || spec.alignment <= 0)
    throw_error(Errc::invalid_argument, "{}: cannot add descriptor {} with alignment {}", spec.name,
                spec.fd, spec.alignment);
  auto file = std::make_unique<DataFile>();
  file->spec = spec;
  DataFile* const added = file.get();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) throw_error(Errc::shut_down, "the I/O engine has been shut down");
    added->id = static_cast<FileId>(files_.size());
    files_.push_back(std::move(file));
  }
  // A back-end that is replaced in between gets the file from files_; twice does no harm.
  // By reference, here and below: without an allocation that could fail in the middle.
  const auto add = [&] { backend_->add_file(*added); };
  run_there(std::ref(add));
  return added->id;
}

void Core::remove_file(FileId file) {
  DataFile* removed = nullptr;
  {
    std::lock_guard lock(mutex_);
    removed = &data_file(file);
    SPILLWAY_CHECK(removed->requests == 0 || abandoned_, "a file is removed while requests use it");
  }
  const auto remove = [&] { backend_->remove_file(*removed); };
  run_there(std::ref(remove));
  std::lock_guard lock(mutex_);
  // The records of an abandoned device stay: its pieces refer to them.
  if (!abandoned_) files_[static_cast<std::size_t>(file)].reset();
}

const FileSpec& Core::file(FileId file) const {
  std::lock_guard lock(mutex_);
  return data_file(file).spec;
}

TransferStats Core::file_stats(FileId file, Op op) const {
  std::lock_guard lock(mutex_);
  const DataFile& data = data_file(file);
  return op == Op::read ? data.read : data.write;
}

std::int64_t Core::add_memory(std::span<std::byte> memory) {
  if (memory.empty()) return 0;
  // A ring that was closed a moment ago gives back its share of the limit only after 6 to 19 ms. A
  // busy machine may let that time go by between two attempts.
  constexpr std::int64_t patience_ns = 20'000'000;
  constexpr int least_attempts = 10;
  const std::int64_t from = nanoseconds_now();
  int error = 0;
  std::string why;
  for (int attempts = 1;; ++attempts) {
    const auto attempt = [&] {
      memory_.reserve(memory_.size() + 1);
      error = backend_->add_memory(memory, why);
      if (error == 0) memory_.push_back(memory);
    };
    if (!run_there(std::ref(attempt))) return 0;
    const bool tried_enough = attempts >= least_attempts && nanoseconds_now() - from >= patience_ns;
    if (error != ENOMEM || tried_enough) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  std::lock_guard lock(mutex_);
  if (error != 0) {
    log::info("memory is not registered for I/O: {}", why);
    report_.reasons.push_back(std::move(why));
    return 0;
  }
  counters_.registered_bytes += static_cast<std::int64_t>(memory.size());
  const std::string feature = "fixed buffers";
  if (std::find(report_.features.begin(), report_.features.end(), feature) ==
      report_.features.end())
    report_.features.push_back(feature);
  return static_cast<std::int64_t>(memory.size());
}

void Core::remove_memory(std::span<std::byte> memory) {
  bool found = false;
  const auto remove = [&] {
    const auto same = [&](const std::span<std::byte>& other) {
      return other.data() == memory.data() && other.size() == memory.size();
    };
    const auto at = std::find_if(memory_.begin(), memory_.end(), same);
    if (at == memory_.end()) return;
    found = true;
    memory_.erase(at);
    backend_->remove_memory(memory);
  };
  run_there(std::ref(remove));
  if (!found) return;
  std::lock_guard lock(mutex_);
  counters_.registered_bytes -= static_cast<std::int64_t>(memory.size());
}

void Core::check_batch(std::span<Request* const> batch) const {
  if (stopping_) throw_error(Errc::shut_down, "the I/O engine has been shut down");
  for (const Request* request : batch) {
    if (request == nullptr) throw_error(Errc::invalid_argument, "submit: a null request");
    const FileSpec& spec = data_file(request->file).spec;
    const auto aligned = [&](std::int64_t value) { return value % spec.alignment == 0; };
    if (request->bytes <= 0 || request->offset < 0 || request->data == nullptr ||
        request->offset > INT64_MAX - request->bytes || !aligned(request->offset) ||
        !aligned(request->bytes) || !aligned(reinterpret_cast<std::intptr_t>(request->data)))
      throw_error(
          Errc::invalid_argument,
          "{}: a request of {} bytes at offset {} from address {} is not a positive multiple "
          "of {}",
          spec.name, request->bytes, request->offset, static_cast<const void*>(request->data),
          spec.alignment);
    const RequestState state = request->state();
    if (state != RequestState::idle && state != RequestState::done)
      throw_error(Errc::invalid_argument, "{}: a request is submitted that is still under way",
                  spec.name);
  }
}

void Core::submit(std::span<Request* const> batch) {
  if (batch.empty()) return;
  const std::int64_t now = nanoseconds_now();
  std::unique_lock lock(mutex_);
  check_batch(batch);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Request& request = *batch[i];
    if (request.state() == RequestState::queued) {  // twice in this batch: take all of it back
      for (std::size_t j = 0; j < i; ++j) {
        Request& undone = *batch[j];
        undone.list_->remove(undone);
        undone.state_.store(RequestState::idle, std::memory_order_release);
        --undone.at_->requests;
        --open_;
      }
      throw_error(Errc::invalid_argument, "{}: a request stands twice in one batch",
                  data_file(request.file).spec.name);
    }
    request.outcome_ = {};
    request.outcome_.done = request.bytes;
    request.at_ = files_[static_cast<std::size_t>(request.file)].get();
    request.cut_ = 0;
    request.pieces_ = 0;
    request.held_ = false;
    request.submitted_ns_ = now;
    request.started_ns_ = 0;
    request.state_.store(RequestState::queued, std::memory_order_release);
    ++request.at_->requests;
    ++open_;
    scheduler_.push(request);
  }
  unlock_and_wake(lock);
}

bool Core::cancel(Request& request) {
  std::unique_lock lock(mutex_);
  if (!scheduler_.withdraw(request)) return false;
  request.outcome_ = {.error = ECANCELED, .cancelled = true};
  finish(request, nanoseconds_now());
  hand_over();
  unlock_and_wake(lock);
  return true;
}

void Core::promote(Request& request) {
  std::lock_guard lock(mutex_);
  if (request.state() == RequestState::queued || request.state() == RequestState::in_flight)
    scheduler_.promote(request);
}

void Core::wait(Request& request, TimePoint deadline) {
  if (on_io_thread())
    throw_error(Errc::would_deadlock, "wait() from an I/O callback would wait for itself");
  if (over(request)) return;
  std::unique_lock lock(mutex_);
  if (request.state() == RequestState::idle)
    throw_error(Errc::invalid_argument, "wait() for a request that was never submitted");
  ++waiters_;
  const bool done =
      changed_.wait_until(lock, deadline, [&] { return over(request) || abandoned_; });
  --waiters_;
  if (over(request)) return;
  const std::string what = fmt::format(
      "{} {} at {} of {}", request.op == Op::read ? "read" : "write", format_bytes(request.bytes),
      request.offset, request.at_ != nullptr ? request.at_->spec.name : "?");
  if (done)
    throw_error(Errc::shut_down, "{}: given up at shutdown; the device never answered", what);
  lock.unlock();
  throw_error(Errc::timeout,
              "{}: not done in time; {}; raise io.timeout, or look at the device in dmesg", what,
              describe_in_flight());
}

}  // namespace spillway::io
