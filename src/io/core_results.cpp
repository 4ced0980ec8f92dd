// What becomes of a result: every one is compared with what was asked for.

#include <algorithm>
#include <cerrno>

#include "base/align.h"
#include "base/check.h"
#include "base/log.h"
#include "io/core.h"
#include "sys/file.h"
#include "sys/verdict.h"

#include "spillway/timeline.h"

namespace spillway::io {
namespace {

constexpr int max_stalls = 3;
constexpr std::int64_t first_backoff_ns = 100'000;
constexpr std::int64_t last_backoff_ns = 100'000'000;

std::int64_t backoff_ns(int times) {
  return std::min(first_backoff_ns << std::min(times, 20), last_backoff_ns);
}

}  // namespace

void Core::book(std::size_t count, std::int64_t now_ns) {
  if (called_back_ != 0) {
    open_ -= called_back_;
    called_back_ = 0;
    news_ = true;
  }
  for (std::size_t i = 0; i < count; ++i)
    take_result(*results_[i].piece, results_[i].result, now_ns);
}

void Core::take_result(Piece& piece, std::int64_t result, std::int64_t now_ns) {
  scheduler_.land(piece);
  if (result < 0) return take_error(piece, static_cast<int>(-result), now_ns);
  SPILLWAY_CHECK(result <= piece.bytes, "more bytes moved than were asked for");

  TransferStats& all = piece.op == Op::read ? reads_ : writes_;
  TransferStats& of_file = piece.op == Op::read ? piece.file->read : piece.file->write;
  for (TransferStats* const stats : {&all, &of_file}) {
    ++stats->operations;
    stats->bytes += result;
  }
  if (result < piece.bytes) return take_short(piece, result, now_ns);
  leave(piece, now_ns);
}

// Goes on where the last whole unit ended: a direct transfer may not start at an odd byte, so the
// bytes after it are moved again.
void Core::take_short(Piece& piece, std::int64_t moved, std::int64_t now_ns) {
  ++counters_.short_transfers;
  const std::int64_t kept = align_down(moved, piece.file->spec.alignment);
  piece.data += kept;
  piece.offset += kept;
  piece.at += kept;
  piece.bytes -= kept;
  piece.backoffs = 0;
  piece.stalls = kept > 0 ? 0 : piece.stalls + 1;
  if (piece.request->outcome_.error != 0) {
    fail(piece, 0, false);
    return leave(piece, now_ns);
  }
  if (piece.stalls < max_stalls) return scheduler_.again(piece);
  fail(piece, EIO, true);
  leave(piece, now_ns);
}

void Core::take_error(Piece& piece, int error, std::int64_t now_ns) {
  if (piece.request->outcome_.error == 0) {
    const sys::Verdict verdict = sys::verdict_of(error);
    if (verdict == sys::Verdict::retry_now) {
      ++counters_.retries;
      return scheduler_.again(piece);
    }
    if (verdict == sys::Verdict::retry_later) {
      if (piece.backoffs == 0) piece.first_busy_ns = now_ns;
      const double spent = static_cast<double>(now_ns - piece.first_busy_ns) * 1e-9;
      if (spent < options_.retry_seconds) {
        ++counters_.retries;
        return scheduler_.again_at(piece, now_ns + backoff_ns(piece.backoffs++));
      }
    }
    if (verdict == sys::Verdict::bug)
      log::error("{}: {} at offset {}: {}: memory or descriptor of a transfer went away under it",
                 piece.file->spec.name, piece.op == Op::read ? "read" : "write", piece.offset,
                 sys::errno_text(error));
  }
  fail(piece, error, false);
  leave(piece, now_ns);
}

// The first error is the request's; after it nothing more is cut, and what flies only lands.
void Core::fail(Piece& piece, int error, bool no_progress) {
  Request& request = *piece.request;
  Outcome& outcome = request.outcome_;
  outcome.done = std::min(outcome.done, piece.at);
  if (outcome.error != 0) return;
  outcome.error = error;
  outcome.no_progress = no_progress;
  scheduler_.stop(request);
}

void Core::leave(Piece& piece, std::int64_t now_ns) {
  Request& request = *piece.request;
  scheduler_.release(piece);
  if (request.pieces_ > 0) return;
  if (request.outcome_.error == 0 && request.cut_ < request.bytes) return;
  scheduler_.retire(request);
  if (request.held_ && !lost_is_gone_) {
    held_.push_back(request);
  } else {
    finish(request, now_ns);
  }
}

void Core::release_held(std::int64_t now_ns) {
  lost_is_gone_ = true;
  while (Request* const request = held_.pop_front()) finish(*request, now_ns);
}

void Core::finish(Request& request, std::int64_t now_ns) {
  DataFile& file = *request.at_;
  --file.requests;
  const Outcome& outcome = request.outcome_;
  if (!outcome.cancelled) {
    const std::int64_t taken = now_ns - request.submitted_ns_;
    (request.op == Op::read ? reads_ : writes_).latency.add(taken);
    (request.op == Op::read ? file.read : file.write).latency.add(taken);
    if (outcome.error != 0) ++counters_.errors;
    if (timeline_ != nullptr)
      timeline_->add({.activity = request.op == Op::read ? Activity::read : Activity::write,
                      .begin_ns = request.started_ns_,
                      .end_ns = now_ns,
                      .bytes = outcome.done,
                      .offset = request.offset});
  }
  if (request.callback != nullptr) {
    finished_.push_back(request);
    return;
  }
  --open_;
  news_ = true;
  request.state_.store(RequestState::done, std::memory_order_release);
}

void Core::hand_over() {
  if (news_ && waiters_ > 0) changed_.notify_all();
  news_ = false;
}

}  // namespace spillway::io
