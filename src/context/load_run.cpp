#include "context/load_run.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/throw.h"
#include "context/page_fill.h"
#include "sys/process.h"

#include "spillway/timeline.h"

namespace spillway {
namespace {

constexpr auto between_reports = std::chrono::milliseconds(50);

io::EngineOptions engine_options(const LoadShape& shape, const IoConfig& io) {
  io::EngineOptions options;
  options.engine = shape.engine;
  options.block_size = shape.block_size;
  options.queue_depth = shape.queue_depth;
  // The depth is the bound here; budgets must not be another one.
  options.read_budget = options.write_budget = shape.queue_depth * shape.block_size;
  // A worker moves one transfer at a time: fewer of them than transfers would be another depth.
  options.threads = io.threads > 0 ? io.threads : std::min<std::int64_t>(shape.queue_depth, 64);
  options.wait_timeout = io.timeout;
  return options;
}

LoadLatency latency_of(const Histogram& histogram) {
  const auto us = [&](double share) {
    return 1e-3 * static_cast<double>(histogram.percentile(share));
  };
  return {.count = histogram.count(),
          .p50 = us(0.5),
          .p90 = us(0.9),
          .p99 = us(0.99),
          .p999 = us(0.999),
          .max = us(1.0)};
}

}  // namespace

LoadRun::LoadRun(const LoadShape& shape, const LoadFiles& files, const PathLoadOptions& options,
                 const LoadWatch& watch)
    : shape_(shape), files_(files), options_(options), watch_(watch) {
  check_shape();
  blocks_ = files.bytes / shape.block_size * std::ssize(files.specs);
  make_memory();
  engine_ = io::Engine::open(engine_options(shape, options.io));
  for (const io::FileSpec& spec : files.specs) ids_.push_back(engine_->add_file(spec));
  if (options.pin_memory) engine_->add_memory(memory_.span());
  if (watch.timeline) engine_->record(watch.timeline);
}

LoadRun::~LoadRun() {
  if (!abandoned_) return;
  memory_.abandon();
  static_cast<void>(slots_.release());
}

void LoadRun::check_shape() const {
  const auto need = [](bool condition, const char* what) {
    if (!condition) throw_error(Errc::invalid_argument, "load: {}", what);
  };
  if (shape_.block_size <= 0 || shape_.block_size % files_.alignment != 0)
    throw_error(Errc::invalid_argument, "load: block_size must be a multiple of {} bytes",
                files_.alignment);
  need(shape_.queue_depth > 0 && shape_.queue_depth <= 16384, "queue_depth must be 1 to 16384");
  need(shape_.seconds > 0, "seconds must be greater than 0");
  need(shape_.max_read > 0 && shape_.max_written > 0, "a bound in bytes must be greater than 0");
  if (shape_.block_size > files_.bytes)
    throw_error(Errc::invalid_argument,
                "load: a block of {} does not fit the {} of each file; raise the file size",
                format_bytes(shape_.block_size), format_bytes(files_.bytes));
}

// What is written and what is read into lie apart, so that all that is ever written is whole.
void LoadRun::make_memory() {
  const bool reads = shape_.pattern != LoadPattern::write;
  const bool writes = shape_.pattern != LoadPattern::read;
  const std::int64_t queue = shape_.queue_depth * shape_.block_size;
  RegionOptions region;
  region.pin = options_.pin_memory;
  region.huge_pages = options_.io.huge_pages;
  region.numa_node = options_.io.numa_node;
  region.name = "the buffers of the load";
  region.alignment = files_.alignment;
  region.setting = "queue depth or block size";
  // Whole huge pages: a short queue in small ones would tell of the pages, not of the queue.
  memory_ =
      PinnedRegion(align_up((reads ? queue : 0) + (writes ? queue : 0), huge_page_bytes), region);
  std::byte* const written = memory_.data() + (reads ? queue : 0);
  if (writes) fill_pages({written, static_cast<std::size_t>(queue)}, options_.fill, options_.seed);
  const auto depth = static_cast<std::size_t>(shape_.queue_depth);
  slots_ = std::make_unique<Slot[]>(depth);
  for (std::size_t i = 0; i < depth; ++i) {
    Slot& slot = slots_[i];
    const std::int64_t at = static_cast<std::int64_t>(i) * shape_.block_size;
    slot.run = this;
    if (reads) slot.read_into = memory_.data() + at;
    if (writes) slot.write_from = written + at;
    slot.request.bytes = shape_.block_size;
    slot.request.callback = &LoadRun::on_done;
    slot.request.context = &slot;
  }
}

bool LoadRun::prepare(Slot& slot) {
  const std::lock_guard lock(prepare_);
  if (stop_.load(std::memory_order_relaxed) || Clock::now() >= deadline_) return false;
  bool write = shape_.pattern == LoadPattern::write;
  if (shape_.pattern == LoadPattern::mixed) write = std::exchange(write_is_next_, !write_is_next_);
  std::int64_t& planned = write ? planned_written_ : planned_read_;
  if (planned > (write ? shape_.max_written : shape_.max_read) - shape_.block_size) return false;
  planned += shape_.block_size;
  std::int64_t& next = write ? next_write_ : next_read_;
  const auto files = std::ssize(ids_);
  io::Request& request = slot.request;
  request.op = write ? io::Op::write : io::Op::read;
  request.service = write ? io::Service::write : io::Service::prefetch;
  request.file = ids_[static_cast<std::size_t>(next % files)];
  request.offset = next / files * shape_.block_size;
  // The engine only reads from it; its requests have one pointer for both directions.
  request.data = write ? const_cast<std::byte*>(slot.write_from) : slot.read_into;
  next = (next + 1) % blocks_;
  return true;
}

void LoadRun::on_done(io::Request& request, void* context) {
  Slot& slot = *static_cast<Slot*>(context);
  LoadRun& run = *slot.run;
  if (request.outcome().error != 0) {
    if (!run.trouble_) run.trouble_ = run.engine_->error_of(request);
    run.stop_ = true;
  } else {
    (request.op == io::Op::write ? run.written_ : run.read_) += request.bytes;
    run.moved_.fetch_add(request.bytes, std::memory_order_relaxed);
  }
  run.end_ns_ = Timeline::now_ns();
  if (!run.prepare(slot)) return run.end_slot();
  try {
    run.engine_->submit(request);
  } catch (const Error& error) {
    if (!run.trouble_) run.trouble_ = error;
    run.end_slot();
  }
}

void LoadRun::end_slot() {
  const std::lock_guard lock(mutex_);
  if (--running_ > 0) return;
  cpu_after_ = sys::process_cpu_seconds();
  all_ended_.notify_all();
}

void LoadRun::start() {
  std::vector<io::Request*> batch;
  for (std::int64_t i = 0; i < shape_.queue_depth; ++i) {
    Slot& slot = slots_[static_cast<std::size_t>(i)];
    if (!prepare(slot)) break;
    batch.push_back(&slot.request);
  }
  if (batch.empty())
    throw_error(Errc::invalid_argument, "load: the bounds leave no room for one block of {}",
                format_bytes(shape_.block_size));
  running_ = std::ssize(batch);
  engine_->submit(batch);
}

void LoadRun::wait_for_all() {
  std::exception_ptr left_early;
  std::int64_t seen = 0;
  TimePoint moved_last = Clock::now();
  std::unique_lock lock(mutex_);
  while (!all_ended_.wait_for(lock, between_reports, [this] { return running_ == 0; })) {
    lock.unlock();
    const std::int64_t moved = moved_.load(std::memory_order_relaxed);
    if (moved != std::exchange(seen, moved)) moved_last = Clock::now();
    if (seconds_between(moved_last, Clock::now()) > options_.io.timeout) {
      const std::string list = engine_->describe_in_flight();
      give_up();
      throw_error(Errc::timeout,
                  "load: nothing moved for {} s; {}; raise io.timeout, or look at the device in "
                  "dmesg",
                  options_.io.timeout, list);
    }
    if (!left_early && watch_.on_progress) {
      try {
        watch_.on_progress(moved);
      } catch (...) {
        left_early = std::current_exception();
        stop_ = true;
      }
    }
    lock.lock();
  }
  lock.unlock();
  engine_->call([] {});  // the callback that woke us may still be on its way out
  if (left_early) std::rethrow_exception(left_early);
}

void LoadRun::give_up() {
  stop_ = true;
  abandoned_ = !engine_->shutdown(options_.io.shutdown_timeout).clean;
}

LoadResult LoadRun::run() {
  if (watch_.on_prepared) watch_.on_prepared();
  cpu_before_ = sys::process_cpu_seconds();
  deadline_ = deadline_in(shape_.seconds);
  begin_ns_ = Timeline::now_ns();
  start();
  wait_for_all();
  if (trouble_) throw Error(*trouble_);
  return result();
}

LoadResult LoadRun::result() const {
  LoadResult result;
  const io::EngineReport report = engine_->report();
  const io::EngineStats stats = engine_->stats();
  result.engine = report.engine;
  result.features = report.features;
  result.reasons = report.reasons;
  for (const std::string& reason : memory_.report().reasons) result.reasons.push_back(reason);
  result.begin_ns = begin_ns_;
  result.end_ns = end_ns_;
  result.bytes_read = read_;
  result.bytes_written = written_;
  result.short_transfers = stats.short_transfers;
  result.retries = stats.retries;
  result.read_latency = latency_of(stats.read.latency);
  result.write_latency = latency_of(stats.write.latency);
  result.cpu_seconds = cpu_after_ - cpu_before_;
  const std::int64_t huge = memory_.report().huge_bytes;
  if (huge > 0)
    result.huge_page_share =
        static_cast<double>(huge) / static_cast<double>(memory_.report().region_bytes);
  return result;
}

}  // namespace spillway
