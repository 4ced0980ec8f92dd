#include "io/engine.h"

#include <new>
#include <utility>

#include "base/throw.h"
#include "io/core.h"
#include "io/ring_backend.h"
#include "io/thread_backend.h"
#include "sys/process.h"

namespace spillway::io {
namespace {

std::unique_ptr<Backend> backend_for(const EngineOptions& options) {
  if (options.engine == EngineChoice::threads)
    return std::make_unique<ThreadBackend>(options.threads);
  return std::make_unique<RingBackend>(options.poll_wait, options.threads);
}

// Locks that other threads held at the fork stay locked in the child: nothing may be touched.
void refuse_fork(int owner) {
  if (owner != sys::process_id())
    throw_error(Errc::forked,
                "this I/O engine belongs to process {}; a forked child must open its own", owner);
}

}  // namespace

std::unique_ptr<Engine> Engine::open(const EngineOptions& options) {
  return std::make_unique<Engine>(backend_for(options), options);
}

Engine::Engine(std::unique_ptr<Backend> backend, const EngineOptions& options)
    : core_(std::make_shared<Core>(std::move(backend), options)), owner_(sys::process_id()) {
  Core::start(core_);
}

Engine::~Engine() {
  if (owner_ != sys::process_id()) {
    // The child's copy is left as it is: its descriptors are closed already, its locks may be held.
    static_cast<void>(new (std::nothrow) std::shared_ptr<Core>(core_));
    return;
  }
  core_->shutdown(10);
}

FileId Engine::add_file(const FileSpec& spec) {
  refuse_fork(owner_);
  return core_->add_file(spec);
}
void Engine::remove_file(FileId file) {
  refuse_fork(owner_);
  core_->remove_file(file);
}
const FileSpec& Engine::file(FileId file) const {
  refuse_fork(owner_);
  return core_->file(file);
}
std::int64_t Engine::add_memory(std::span<std::byte> memory) {
  refuse_fork(owner_);
  return core_->add_memory(memory);
}
void Engine::remove_memory(std::span<std::byte> memory) {
  refuse_fork(owner_);
  core_->remove_memory(memory);
}
void Engine::submit(std::span<Request* const> batch) {
  refuse_fork(owner_);
  core_->submit(batch);
}
void Engine::submit(Request& request) {
  Request* const batch[] = {&request};
  submit(batch);
}
bool Engine::cancel(Request& request) {
  refuse_fork(owner_);
  return core_->cancel(request);
}
void Engine::promote(Request& request) {
  refuse_fork(owner_);
  core_->promote(request);
}
void Engine::wait(Request& request, TimePoint deadline) {
  refuse_fork(owner_);
  core_->wait(request, deadline);
}
void Engine::wait(Request& request) { wait(request, deadline_in(core_->wait_timeout())); }
void Engine::call(const std::function<void()>& work) {
  refuse_fork(owner_);
  core_->call(work);
}
Error Engine::error_of(const Request& request) const {
  refuse_fork(owner_);
  return core_->error_of(request);
}
std::string Engine::describe_in_flight() const {
  refuse_fork(owner_);
  return core_->describe_in_flight();
}
ShutdownResult Engine::shutdown(double timeout) {
  refuse_fork(owner_);
  return core_->shutdown(timeout);
}
void Engine::record(std::shared_ptr<Timeline> timeline) {
  refuse_fork(owner_);
  core_->record(std::move(timeline));
}
EngineReport Engine::report() const {
  refuse_fork(owner_);
  return core_->report();
}
EngineStats Engine::stats() const {
  refuse_fork(owner_);
  return core_->stats();
}
TransferStats Engine::read_stats(FileId file) const {
  refuse_fork(owner_);
  return core_->file_stats(file, Op::read);
}
TransferStats Engine::write_stats(FileId file) const {
  refuse_fork(owner_);
  return core_->file_stats(file, Op::write);
}

}  // namespace spillway::io
