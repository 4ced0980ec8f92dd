// What the engine says: of its requests, their errors, and itself.

#include <fmt/core.h>

#include "base/byte_size.h"
#include "base/check.h"
#include "io/core.h"
#include "sys/file.h"
#include "sys/verdict.h"

namespace spillway::io {

std::string Core::name_of(FileId file) const {
  std::lock_guard lock(mutex_);
  const auto index = static_cast<std::size_t>(file);
  if (index >= files_.size() || !files_[index]) return "a file that was removed";
  return files_[index]->spec.name;
}

void Core::record(std::shared_ptr<Timeline> timeline) {
  std::lock_guard lock(mutex_);
  timeline_.swap(timeline);
}

std::string Core::describe(const Request& request, std::int64_t now_ns) const {
  return fmt::format("{} {} at {} of {} ({:.1f} s)", request.op == Op::read ? "read" : "write",
                     format_bytes(request.bytes), request.offset, request.at_->spec.name,
                     static_cast<double>(now_ns - request.submitted_ns_) * 1e-9);
}

std::vector<std::string> Core::list_in_flight(std::size_t limit, std::size_t& total) const {
  std::vector<std::string> list;
  const std::int64_t now = nanoseconds_now();
  total = 0;
  const auto visit = [&](const Request& request) {
    if (total++ < limit) list.push_back(describe(request, now));
  };
  scheduler_.visit_started(visit);
  for (const Request* at = held_.front(); at != nullptr; at = RequestList::after(*at)) visit(*at);
  return list;
}

std::string Core::describe_in_flight() const {
  std::size_t total = 0;
  std::vector<std::string> list;
  {
    std::lock_guard lock(mutex_);
    if (abandoned_) {
      list = result_.abandoned;
      total = list.size();
      if (list.size() > 16) list.resize(16);
    } else {
      list = list_in_flight(16, total);
    }
  }
  std::string text = fmt::format("{} in flight", total);
  for (std::size_t i = 0; i < list.size(); ++i) text += (i == 0 ? ": " : ", ") + list[i];
  if (total > list.size()) text += ", ...";
  return text;
}

Error Core::error_of(const Request& request) const {
  const Outcome& outcome = request.outcome();
  SPILLWAY_CHECK(request.state() == RequestState::done && outcome.error != 0,
                 "error_of() of a request that did not fail");
  const std::string what =
      fmt::format("{} of {} bytes at offset {} of {}", request.op == Op::read ? "read" : "write",
                  request.bytes, request.offset, name_of(request.file));
  if (outcome.cancelled) return {Errc::cancelled, what + ": cancelled before it started"};
  if (outcome.no_progress && request.op == Op::read)
    return {
        Errc::corrupt,
        fmt::format("{}: the file ends after {} of them; it was truncated while in use, and what "
                    "it held is lost: start again from a checkpoint",
                    what, outcome.done)};
  if (outcome.no_progress)
    return {Errc::io_error,
            fmt::format("{}: the device takes no more after {} of them; look at dmesg", what,
                        outcome.done)};
  std::string text = fmt::format("{}: {}", what, sys::errno_text(outcome.error));
  if (const auto advice = sys::advice_for(outcome.error); !advice.empty())
    text += fmt::format("; {}", advice);
  return {sys::errc_of(outcome.error), text};
}

EngineReport Core::report() const {
  std::lock_guard lock(mutex_);
  return report_;
}

EngineStats Core::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = counters_;
  stats.read = reads_;
  stats.write = writes_;
  stats.peak_in_flight = scheduler_.peak_in_flight();
  return stats;
}

}  // namespace spillway::io
