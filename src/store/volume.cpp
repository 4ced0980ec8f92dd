#include "store/volume.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/log.h"
#include "base/throw.h"
#include "store/seal.h"

namespace spillway::store {
namespace {

// A file grows in steps, for a model of ten thousand tensors must not ask the file system as often.
constexpr std::int64_t least_step = 16 * MiB;
constexpr std::int64_t most_step = 1024 * MiB;

}  // namespace

Volume::Volume(io::Engine& engine, const StoreOptions& options)
    : engine_(engine), checksums_(options.checksums) {
  const std::vector<std::int64_t> weights = checked_weights(options);
  alignment_ = page_bytes;
  for (const std::filesystem::path& path : options.paths) {
    files_.push_back(std::make_unique<DataFile>(engine, path.string(), options));
    alignment_ = std::max(alignment_, files_.back()->alignment());
  }
  stripe_.emplace(weights, align_up(options.stripe_unit, alignment_));
}

Volume::~Volume() {
  if (in_flight_.load(std::memory_order_acquire) == 0) return;
  for (auto& file : files_) {
    log::error(
        "{} still has transfers in flight: its descriptor is left behind, so that what the device "
        "does late harms nobody",
        file->name());
    file->abandon();
    static_cast<void>(file.release());  // on purpose: the kernel may still write through it
  }
}

std::int64_t Volume::add(std::int64_t bytes) {
  SPILLWAY_CHECK(bytes > 0 && bytes % alignment_ == 0, "an extent is of whole blocks");
  const std::lock_guard lock(mutex_);
  // Giving it back must not fail.
  free_.reserve(extents_ + 1);
  if (const auto hole = free_.take(bytes)) {
    ++extents_;
    return *hole;
  }
  if (bytes > (std::int64_t{1} << 60) - end_)
    throw_error(Errc::no_space, "{} more bytes are beyond every file system", bytes);
  const std::int64_t end = end_ + bytes;
  if (end > allocated_) {
    const std::int64_t step = std::clamp(end / 8, least_step, most_step);
    try {
      grow_to(align_up(end + step, alignment_));
    } catch (const Error& error) {
      if (!is_full(error)) throw;
      grow_to(end);  // it is nearly full: just what is needed
    }
  }
  ++extents_;
  return std::exchange(end_, end);
}

// All files or none.
void Volume::grow_to(std::int64_t end) {
  std::vector<std::int64_t> before;
  for (const auto& file : files_) before.push_back(file->size());
  try {
    for (std::size_t i = 0; i < files_.size(); ++i)
      files_[i]->grow(std::max(before[i], stripe_->share(static_cast<int>(i), end, 0)));
  } catch (...) {
    for (std::size_t i = 0; i < files_.size(); ++i) files_[i]->shrink(before[i]);
    throw;
  }
  allocated_ = end;
}

void Volume::release(std::int64_t address, std::int64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  --extents_;
  free_.insert(address, bytes);
  end_ = free_.take_tail(end_);
}

void Volume::trim() {
  const std::lock_guard lock(mutex_);
  if (allocated_ == end_) return;
  for (std::size_t i = 0; i < files_.size(); ++i)
    files_[i]->shrink(stripe_->share(static_cast<int>(i), end_, 0));
  allocated_ = end_;
}

std::vector<PathReport> Volume::report() const {
  std::vector<PathReport> reports;
  for (const auto& file : files_) reports.push_back(file->report());
  return reports;
}

std::string Volume::place(std::int64_t address, std::int64_t bytes) const {
  std::string text;
  stripe_->for_each_run_in(address, bytes, [&](const Stripe::Run& run) {
    text += fmt::format("{}offset {} of {}", text.empty() ? "" : ", ", run.offset,
                        files_[static_cast<std::size_t>(run.path)]->name());
  });
  return text;
}

std::uint64_t Volume::seal(std::int64_t address, const std::byte* data, std::int64_t bytes) const {
  if (checksums_) return block_seal(data, bytes, true);
  std::uint64_t seal = 0;
  stripe_->for_each_run_in(address, bytes, [&](const Stripe::Run& run) {
    const std::uint64_t part = block_seal(data + run.at, run.bytes, false);
    seal = seal == 0 ? part : std::rotl(seal, 1) ^ part;
  });
  return seal != 0 ? seal : 1;
}

Movement::~Movement() { SPILLWAY_CHECK(!in_flight(), "a movement lives until it is done"); }

void Movement::reserve(std::int64_t bytes) {
  // An extent may begin and end in the middle of a unit.
  const auto most = static_cast<std::size_t>(volume_.stripe_->max_runs(bytes)) + 1;
  while (requests_.size() < most) requests_.emplace_back();
  batch_.reserve(requests_.size());
}

void Movement::start(io::Op op, std::int64_t address, std::byte* data, std::int64_t bytes,
                     io::Service service, Callback callback, void* context) {
  SPILLWAY_CHECK(!in_flight(), "a movement is started once at a time");
  SPILLWAY_CHECK(
      bytes > 0 && address % volume_.alignment() == 0 && bytes % volume_.alignment() == 0,
      "whole blocks are moved");
  reserve(bytes);
  batch_.clear();
  volume_.stripe_->for_each_run_in(address, bytes, [&](const Stripe::Run& run) {
    io::Request& request = requests_[batch_.size()];
    request.op = op;
    request.file = volume_.files_[static_cast<std::size_t>(run.path)]->id();
    request.offset = run.offset;
    request.data = data + run.at;
    request.bytes = run.bytes;
    request.service = service;
    request.callback = &Movement::on_request;
    request.context = this;
    batch_.push_back(&request);
  });
  bytes_ = bytes;
  callback_ = callback;
  context_ = context;
  ok_ = false;
  first_failure_.store(nullptr, std::memory_order_relaxed);
  left_.store(batch_.size(), std::memory_order_release);
  in_flight_.store(true, std::memory_order_release);
  volume_.in_flight_.fetch_add(1, std::memory_order_acq_rel);
  try {
    volume_.engine_.submit(batch_);
  } catch (...) {
    in_flight_.store(false, std::memory_order_release);
    volume_.in_flight_.fetch_sub(1, std::memory_order_acq_rel);
    throw;
  }
}

void Movement::on_request(io::Request& request, void* context) {
  Movement& self = *static_cast<Movement*>(context);
  if (request.outcome().error != 0) {
    io::Request* none = nullptr;
    self.first_failure_.compare_exchange_strong(none, &request, std::memory_order_acq_rel);
  }
  // acq_rel: what the others left behind is seen by the last one.
  if (self.left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  self.ok_ = self.first_failure_.load(std::memory_order_acquire) == nullptr;
  const Callback call = self.callback_;
  void* const with = self.context_;
  self.volume_.in_flight_.fetch_sub(1, std::memory_order_acq_rel);
  self.in_flight_.store(false, std::memory_order_release);
  if (call != nullptr) call(self, with);  // which may have been the end of it
}

void Movement::promote() {
  if (!in_flight()) return;
  for (std::size_t i = 0; i < batch_.size(); ++i) volume_.engine_.promote(*batch_[i]);
}

Error Movement::error() const {
  const io::Request* const failure = first_failure_.load(std::memory_order_acquire);
  SPILLWAY_CHECK(!in_flight() && failure != nullptr, "only what has failed has an error");
  return volume_.engine_.error_of(*failure);
}

}  // namespace spillway::store
