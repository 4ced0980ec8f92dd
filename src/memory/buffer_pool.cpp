#include "memory/buffer_pool.h"

#include <fmt/core.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/throw.h"
#include "memory/granule_runs.h"
#include "memory/poison.h"
#include "memory/wait_queue.h"
#include "sys/process.h"

namespace spillway {
namespace {

/// `count` times `size`, with what is rounded up in between.
struct Layout {
  std::int64_t budget = 0;  ///< count * size
  std::int64_t needed = 0;  ///< for all of them side by side, each on the alignment
  std::int64_t granule = 0;
};

Layout layout_of(std::int64_t count, std::int64_t size, std::int64_t alignment,
                 std::string_view name, std::int64_t largest_granule) {
  if (count <= 0 || size <= 0)
    throw_error(Errc::invalid_argument,
                "{}: buffer_count {} and buffer_size {} must both be at least 1", name, count,
                size);
  if (size > INT64_MAX - std::max(huge_page_bytes, alignment) ||
      !checked_multiply(count, align_up(size, alignment)))
    throw_error(Errc::invalid_argument,
                "{}: buffer_count {} x buffer_size {} is beyond 64 bits; reduce one of them", name,
                count, size);
  const std::int64_t blocks = divide_up(size, alignment);
  std::int64_t granule = std::min(blocks, std::max<std::int64_t>(1, largest_granule / alignment));
  // A granule that does not divide the buffer would lose its rest in every buffer. A buffer that is
  // alone has nobody to lose it to.
  while (count > 1 && blocks % granule != 0) --granule;
  return {count * size, (count - 1) * blocks * alignment + size, granule * alignment};
}

}  // namespace

struct BufferPool::Impl {
  Impl(std::span<std::byte> given, const Layout& layout, std::int64_t count, std::int64_t size,
       std::string pool_name)
      : memory(given.data()),
        capacity(std::min(static_cast<std::int64_t>(given.size()), layout.needed)),
        granule(layout.granule),
        budget(layout.budget),
        buffer_count(count),
        buffer_size(size),
        name(std::move(pool_name)),
        runs(divide_up(capacity, granule)) {}

  std::byte* const memory;
  const std::int64_t capacity;  // [bytes] budget, and what page rounding between buffers takes
  const std::int64_t granule;
  const std::int64_t budget, buffer_count, buffer_size;
  const std::string name;
  const int owner = sys::process_id();

  mutable std::mutex mutex;  // guards all below
  GranuleRuns runs;
  WaitQueue demands, prefetches;
  bool stopped = false;
  std::int64_t leases = 0;
  PoolStats counts;

  /// [bytes] of a run; the last granule of all may be short.
  std::int64_t run_bytes(std::int64_t first, std::int64_t granules) const {
    return std::min((first + granules) * granule, capacity) - first * granule;
  }

  /// The first granule of a run that is now taken, or -1.
  std::int64_t take(std::int64_t bytes, std::string_view holder) {
    const std::int64_t first = runs.take(divide_up(bytes, granule), bytes, holder);
    if (first < 0) return -1;
    const std::int64_t got = run_bytes(first, runs.holder(first).granules);
    if (got < bytes) {  // it ends in the short granule, and the lowest run was this one
      runs.give(first);
      return -1;
    }
    ++leases;
    ++counts.acquires;
    counts.leased_bytes += got;
    counts.peak_bytes = std::max(counts.peak_bytes, counts.leased_bytes);
    unpoison(memory + first * granule, bytes);
    return first;
  }

  void give(std::int64_t first) {
    const std::int64_t bytes = run_bytes(first, runs.holder(first).granules);
    poison(memory + first * granule, bytes);
    runs.give(first);
    --leases;
    counts.leased_bytes -= bytes;
    serve();
  }

  /// Grants in order, and stops at the first that does not fit: nobody behind may pass it, or a
  /// large request would starve among small ones.
  void serve() {
    while (PoolWaiter* next = demands.empty() ? prefetches.front() : demands.front()) {
      next->granted = take(next->bytes, next->holder);
      if (next->granted < 0) return;
      (demands.empty() ? prefetches : demands).remove(*next);
      next->changed.notify_one();  // under the mutex: the waiter's stack lives until it has it
    }
  }

  std::int64_t largest_free_run() const {
    std::int64_t largest = 0;
    runs.visit([](std::int64_t, const GranuleRuns::Holder&) {},
               [&](std::int64_t first, std::int64_t granules) {
                 largest = std::max(largest, run_bytes(first, granules));
               });
    return largest;
  }

  std::string describe() const {
    constexpr int most_named = 16;
    std::string names;
    int seen = 0;
    runs.visit(
        [&](std::int64_t, const GranuleRuns::Holder& holder) {
          if (++seen <= most_named)
            names += fmt::format("{}{} ({})", seen == 1 ? ": " : ", ",
                                 holder.name.empty() ? "unnamed" : holder.name,
                                 format_bytes(holder.bytes));
        },
        [](std::int64_t, std::int64_t) {});
    if (seen > most_named) names += fmt::format(", and {} more", seen - most_named);
    return fmt::format("{} {}, {}{}; largest free run {}", seen, seen == 1 ? "holder" : "holders",
                       format_bytes(counts.leased_bytes), names, format_bytes(largest_free_run()));
  }

  void check_size(std::int64_t bytes, std::string_view holder) const {
    const std::string_view who = holder.empty() ? std::string_view("a request") : holder;
    if (bytes <= 0)
      throw_error(Errc::invalid_argument, "{}: {} asks for {} bytes", name, who, bytes);
  }

  [[noreturn]] void throw_does_not_fit(std::int64_t bytes, std::string_view holder) const {
    throw_error(Errc::does_not_fit,
                "{}: {} needs {} ({} bytes) at once, but buffer_count {} x buffer_size {} is only "
                "{}; buffer_count {} works with this buffer_size",
                name, holder.empty() ? "a request" : holder, format_bytes(bytes), bytes,
                buffer_count, buffer_size, format_bytes(budget), divide_up(bytes, buffer_size));
  }

  [[noreturn]] void throw_stopped(std::string_view holder) const {
    throw_error(Errc::shut_down, "{}: {} asks for memory while the pool shuts down", name,
                holder.empty() ? "a request" : holder);
  }
};

std::int64_t BufferPool::region_bytes(std::int64_t buffer_count, std::int64_t buffer_size,
                                      std::int64_t alignment) {
  return layout_of(buffer_count, buffer_size, alignment, "pool", huge_page_bytes).needed;
}

BufferPool::BufferPool(std::span<std::byte> memory, std::int64_t buffer_count,
                       std::int64_t buffer_size, std::string name, std::int64_t alignment,
                       std::int64_t largest_granule) {
  const Layout layout = layout_of(buffer_count, buffer_size, alignment, name, largest_granule);
  SPILLWAY_CHECK(static_cast<std::int64_t>(memory.size()) >= layout.budget,
                 "a pool is given less memory than its budget");
  SPILLWAY_CHECK(reinterpret_cast<std::intptr_t>(memory.data()) % alignment == 0,
                 "a pool's memory does not start on its alignment");
  impl_ = std::make_unique<Impl>(memory, layout, buffer_count, buffer_size, std::move(name));
  poison(impl_->memory, impl_->capacity);
}

BufferPool::~BufferPool() {
  if (impl_->owner != sys::process_id()) return;  // a forked child's copy: the memory is not there
  std::lock_guard lock(impl_->mutex);
  SPILLWAY_CHECK(impl_->demands.empty() && impl_->prefetches.empty(),
                 "a pool is destroyed while a thread waits for it");
  SPILLWAY_CHECK(impl_->leases == 0, "a lease outlives its pool");
  unpoison(impl_->memory, impl_->capacity);  // whoever gets these addresses next may use them
}

std::optional<BufferLease> BufferPool::try_acquire(std::int64_t bytes, std::string_view holder) {
  impl_->check_size(bytes, holder);
  std::lock_guard lock(impl_->mutex);
  const bool first_in_line = impl_->demands.empty() && impl_->prefetches.empty();
  const bool may = first_in_line && !impl_->stopped && bytes <= impl_->budget;
  const std::int64_t first = may ? impl_->take(bytes, holder) : -1;
  if (first < 0) {
    ++impl_->counts.refused;
    return std::nullopt;
  }
  return lease(first, bytes);
}

BufferLease BufferPool::acquire(std::int64_t bytes, PoolClass service, TimePoint deadline,
                                std::string_view holder) {
  impl_->check_size(bytes, holder);
  if (bytes > impl_->budget) impl_->throw_does_not_fit(bytes, holder);
  Impl& pool = *impl_;
  std::unique_lock lock(pool.mutex);
  if (pool.stopped) pool.throw_stopped(holder);

  WaitQueue& queue = service == PoolClass::demand ? pool.demands : pool.prefetches;
  const bool my_turn = queue.empty() && (service == PoolClass::demand || pool.demands.empty());
  if (my_turn)
    if (const std::int64_t first = pool.take(bytes, holder); first >= 0) return lease(first, bytes);

  PoolWaiter waiter{.bytes = bytes, .holder = holder};
  queue.push(waiter);
  ++pool.counts.waits;
  const TimePoint from = Clock::now();
  const bool in_time = waiter.changed.wait_until(
      lock, deadline, [&] { return waiter.granted >= 0 || pool.stopped; });
  const double waited = seconds_between(from, Clock::now());
  pool.counts.wait_seconds += waited;
  if (waiter.granted >= 0) return lease(waiter.granted, bytes);

  const std::int64_t ahead = queue.ahead_of(&waiter) +
                             (service == PoolClass::prefetch ? pool.demands.ahead_of(nullptr) : 0);
  queue.remove(waiter);
  if (in_time) pool.throw_stopped(holder);
  const std::string holders = pool.describe();
  pool.serve();  // whoever stood behind may fit where this one did not
  throw_error(Errc::timeout,
              "{}: {} waited {:.3f} s for {}, with {} requests ahead of it: {}; release leases "
              "sooner, or raise buffer_count (now {} of {} bytes)",
              pool.name, holder.empty() ? "a request" : holder, waited, format_bytes(bytes), ahead,
              holders, pool.buffer_count, pool.buffer_size);
}

void BufferPool::stop() noexcept {
  std::lock_guard lock(impl_->mutex);
  impl_->stopped = true;
  for (const WaitQueue* queue : {&impl_->demands, &impl_->prefetches})
    for (PoolWaiter* waiter = queue->front(); waiter != nullptr; waiter = waiter->behind)
      waiter->changed.notify_one();
}

std::int64_t BufferPool::budget_bytes() const { return impl_->budget; }
std::int64_t BufferPool::granule_bytes() const { return impl_->granule; }

std::string BufferPool::describe_holders() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->describe();
}

PoolStats BufferPool::stats() const {
  std::lock_guard lock(impl_->mutex);
  PoolStats stats = impl_->counts;
  stats.budget_bytes = impl_->budget;
  stats.largest_free_run = impl_->largest_free_run();
  return stats;
}

BufferLease BufferPool::lease(std::int64_t first, std::int64_t bytes) {
  BufferLease lease;
  lease.pool_ = this;
  lease.data_ = impl_->memory + first * impl_->granule;
  lease.bytes_ = bytes;
  lease.first_granule_ = first;
  lease.granules_ = divide_up(bytes, impl_->granule);
  return lease;
}

void BufferPool::release(BufferLease& lease) noexcept {
  if (impl_->owner != sys::process_id()) return;  // the mutex may be held by a thread that is gone
  std::lock_guard lock(impl_->mutex);
  impl_->give(lease.first_granule_);
}

BufferLease::BufferLease(BufferLease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      first_granule_(std::exchange(other.first_granule_, 0)),
      granules_(std::exchange(other.granules_, 0)) {}

BufferLease& BufferLease::operator=(BufferLease&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = std::exchange(other.pool_, nullptr);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  first_granule_ = std::exchange(other.first_granule_, 0);
  granules_ = std::exchange(other.granules_, 0);
  return *this;
}

void BufferLease::release() noexcept {
  if (pool_ == nullptr) return;
  std::exchange(pool_, nullptr)->release(*this);
  data_ = nullptr;
  bytes_ = first_granule_ = granules_ = 0;
}

}  // namespace spillway
