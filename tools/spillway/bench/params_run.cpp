#include "bench/params_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <thread>
#include <utility>

#include "spillway/error.h"

namespace spillway::params {
namespace {

using Clock = std::chrono::steady_clock;

constexpr DType dtype = DType::bf16;
// As much as an optimizer's tile hands over at a time; a multiple of 4096, so nothing is read.
constexpr std::int64_t step_elements = 2 * 1024 * 1024;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double stalls(const ParameterStats& stats) {
  return stats.stall_read_seconds + stats.stall_memory_seconds + stats.stall_lease_seconds;
}

}  // namespace

ParamsRun::ParamsRun(const Workload& workload, const Config& config, KeepGoing keep_going)
    : workload_(workload),
      keep_going_(std::move(keep_going)),
      context_(config),
      swapper_(context_, {.name = "params"}),
      versions_(workload.tensors.size(), 0) {
  for (const Unit& unit : workload.units) {
    units_.push_back(swapper_.add_unit(unit.name));
    for (const std::uint32_t t : unit.tensors)
      params_.push_back(swapper_.add(workload.tensors[t].name, workload.tensors[t].elements, dtype,
                                     {.unit = units_.back(), .tag = t}));
  }
}

void ParamsRun::set_up() {
  swapper_.seal();
  for (std::uint32_t t = 0; t < workload_.tensors.size(); ++t) overwrite(t);
  swapper_.flush();
}

PassFigures ParamsRun::pass(std::string_view name, const Pass& pass,
                            std::chrono::nanoseconds think) {
  constexpr std::int64_t part = 16;
  look_ = passes_ == 0 || think.count() > 0 ? Look{} : Look{.first = passes_ % part, .every = part};
  ++passes_;
  PassFigures figures;
  const ParameterStats before = swapper_.stats();
  const auto begin = Clock::now();
  swapper_.begin_pass(name);
  for (const std::uint32_t u : pass.fetches) fetch(workload_.units[u], think, figures);
  const auto step = Clock::now();
  for (const std::uint32_t u : pass.updates)
    for (const std::uint32_t t : workload_.units[u].tensors) overwrite(t);
  figures.update_seconds = seconds_since(step);
  figures.seconds = seconds_since(begin);
  const ParameterStats after = swapper_.stats();
  figures.stall_seconds = stalls(after) - stalls(before);
  figures.checksum_seconds = after.checksum_seconds - before.checksum_seconds;
  figures.bytes_fetched = after.bytes_fetched - before.bytes_fetched;
  figures.bytes_read = after.bytes_read - before.bytes_read;
  figures.bytes_written = after.bytes_written - before.bytes_written;
  figures.bytes_read_for_fetches =
      figures.bytes_read - (after.bytes_read_ahead - before.bytes_read_ahead);
  figures.prefetches = after.prefetches - before.prefetches;
  figures.evictions = after.evictions - before.evictions;
  return figures;
}

void ParamsRun::fetch(const Unit& unit, std::chrono::nanoseconds think, PassFigures& figures) {
  keep_going_();
  const auto begin = Clock::now();
  const Lease lease =
      swapper_.fetch(units_[static_cast<std::size_t>(&unit - workload_.units.data())]);
  const auto got = Clock::now();
  figures.fetch_seconds += std::chrono::duration<double>(got - begin).count();
  for (const View& view : lease.tensors()) {
    const auto t = static_cast<std::uint32_t>(view.tag);
    const std::int64_t wrong = Content(t, versions_[t]).first_wrong(view.raw(), look_);
    if (wrong >= 0)
      throw Error(Errc::corrupt,
                  fmt::format("{}: byte {} and on are not what was last written there",
                              workload_.tensors[t].name, wrong));
  }
  figures.think_seconds += std::chrono::duration<double>(think).count();
  if (think.count() > 0) think_until(got + think);
}

// Looking at the pages is part of the thinking.
void ParamsRun::think_until(Clock::time_point end) const {
  constexpr auto slice = std::chrono::milliseconds(50);
  for (;;) {
    keep_going_();
    const auto now = Clock::now();
    if (now >= end) return;
    std::this_thread::sleep_until(std::min(end, now + slice));
  }
}

void ParamsRun::overwrite(std::uint32_t tensor) {
  const Content content(tensor, ++versions_[tensor]);
  const std::int64_t elements = workload_.elements[tensor];
  for (std::int64_t at = 0; at < elements; at += step_elements) {
    keep_going_();
    const Range range{at, std::min(step_elements, elements - at)};
    Lease lease = swapper_.fetch(params_[tensor], Access::overwrite, range);
    content.fill(lease.tensors()[0].raw_mutable(), at * width(dtype));
    lease.commit();
  }
}

}  // namespace spillway::params
