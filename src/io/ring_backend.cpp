#include "io/ring_backend.h"

#include <algorithm>
#include <array>

#include "io/thread_backend.h"
#include "sys/ring.h"

namespace spillway::io {
namespace {

constexpr std::size_t batch = 64;

}  // namespace

RingBackend::RingBackend(bool poll_wait, std::int64_t threads)
    : poll_wait_(poll_wait), threads_(threads) {}
RingBackend::~RingBackend() = default;

int RingBackend::open(std::int64_t depth, EngineReport& report, std::string& why) {
  ring_ = std::make_unique<sys::Ring>(
      sys::Ring::Options{.depth = static_cast<unsigned>(depth), .poll_wait = poll_wait_});
  const int error = ring_->open(why);
  if (error != 0) return error;
  for (const std::string& feature : ring_->features()) report.features.push_back(feature);
  for (const std::string& refusal : ring_->refusals()) report.reasons.push_back(refusal);
  if (poll_wait_) report.features.emplace_back("waits with poll()");
  return 0;
}

void RingBackend::start(Piece& piece) {
  ring_->start({.write = piece.op == Op::write,
                .dsync = piece.file->spec.dsync,
                .fd = piece.file->spec.fd,
                .slot = piece.file->slot,
                .data = piece.data,
                .offset = piece.offset,
                .bytes = piece.bytes,
                .tag = &piece});
  reads_.started(piece);
}

int RingBackend::reap(std::span<Completion> into, std::size_t& count, std::int64_t timeout_ns) {
  std::array<sys::RingResult, batch> results;
  std::size_t got = 0;
  const int error =
      ring_->wait(std::span(results).first(std::min(batch, into.size())), got, timeout_ns);
  for (std::size_t i = 0; i < got; ++i) {
    into[i] = {static_cast<Piece*>(results[i].tag), results[i].result};
    reads_.ended(*into[i].piece);
  }
  count = got;
  return error;
}

void RingBackend::wake() noexcept { ring_->wake(); }

void RingBackend::add_file(DataFile& file) {
  if (file.slot < 0) file.slot = ring_->add_file(file.spec.fd);
}
void RingBackend::remove_file(DataFile& file) {
  ring_->remove_file(file.slot);
  file.slot = -1;
}

int RingBackend::add_memory(std::span<std::byte> memory, std::string& why) {
  return ring_->add_memory(memory, why);
}
void RingBackend::remove_memory(std::span<std::byte> memory) { ring_->remove_memory(memory); }

void RingBackend::close() noexcept {
  if (ring_) ring_->close();
  reads_.forget();
}
bool RingBackend::gone(std::int64_t timeout_ns) noexcept {
  return !ring_ || ring_->gone(timeout_ns);
}

std::unique_ptr<Backend> RingBackend::successor() {
  return std::make_unique<ThreadBackend>(threads_);
}

}  // namespace spillway::io
