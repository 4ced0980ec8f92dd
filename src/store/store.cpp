#include "store/store.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <utility>

#include "base/align.h"
#include "base/byte_size.h"
#include "base/check.h"
#include "base/log.h"
#include "base/throw.h"
#include "store/store_impl.h"
#include "sys/process.h"

namespace spillway::store {
namespace {

std::uint64_t random_number() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace

std::vector<std::int64_t> checked_weights(const StoreOptions& options) {
  if (options.paths.empty()) {
    throw_error(Errc::invalid_config, "nvme_path names no directory: at least one is needed");
  }
  if (options.stripe_unit <= 0) {
    throw_error(Errc::invalid_config, "stripe_unit is {} bytes: it must be positive",
                options.stripe_unit);
  }
  if (options.weights.empty()) return std::vector<std::int64_t>(options.paths.size(), 1);
  if (options.weights.size() != options.paths.size()) {
    throw_error(Errc::invalid_config, "path_weights has {} entries and nvme_path {}: give one each",
                options.weights.size(), options.paths.size());
  }
  for (std::size_t i = 0; i < options.weights.size(); ++i) {
    if (options.weights[i] < 1) {
      throw_error(Errc::invalid_config, "path_weights gives {} to {}: weights are at least 1",
                  options.weights[i], options.paths[i].string());
    }
  }
  return options.weights;
}

Store::Impl::Impl(io::Engine& the_engine, const StoreOptions& options)
    : engine(the_engine),
      checksums(options.checksums),
      process(sys::process_id()),
      instance(random_number()),
      no_memory(Errc::out_of_memory,
                "a transfer cannot go on, and the process is out of memory for the reason: free "
                "some, then try again") {
  const std::vector<std::int64_t> weights = checked_weights(options);
  alignment = page_bytes;
  for (const std::filesystem::path& path : options.paths) {
    files.push_back(std::make_unique<DataFile>(engine, path.string(), options));
    alignment = std::max(alignment, files.back()->alignment());
  }
  const std::int64_t guard = checksums ? 0 : align_up(trailer_bytes, alignment);
  ledger = std::make_unique<Ledger>(
      Stripe(weights, align_up(options.stripe_unit, alignment), guard), alignment, !checksums);
}

void Store::Impl::keep(std::unique_ptr<Impl> impl) noexcept {
  static std::atomic<Impl*> kept{nullptr};
  Impl* const added = impl.release();
  added->next_kept = kept.load();
  while (!kept.compare_exchange_weak(added->next_kept, added)) {
  }
}

bool Store::Impl::in_our_process() const { return sys::process_id() == process; }

void Store::Impl::require_our_process() const {
  if (in_our_process()) return;
  throw_error(Errc::forked,
              "the store under {} belongs to process {}; a forked child cannot use it: make a "
              "context of its own there",
              files.front()->nvme_path(), process);
}

SealInput Store::Impl::seal_input(SectionId section) const {
  const std::int64_t payload = ledger->section(section).payload;
  const std::int64_t body = ledger->body(payload);
  return {static_cast<std::uint32_t>(section), payload, body, ledger->stripe().guards(body),
          ledger->stripe().guard()};
}

Store::Impl::Expected Store::Impl::expected(SectionId section) const {
  const Ledger::Section& entry = ledger->section(section);
  SPILLWAY_CHECK(entry.slot != no_slot, "only a written section has something to expect");
  Expected result;
  result.input = seal_input(section);
  result.seal = entry.seal;
  result.rotation = ledger->slots().rotation(entry.slot);
  result.path = ledger->stripe().path_at(result.rotation);
  result.offset = ledger->slots().offset(entry.slot, result.path);
  return result;
}

std::string Store::Impl::difference(const Expected& expected, const std::byte* data) const {
  if (checksums) {
    const std::uint64_t got = checksum(expected.input, data);
    if (got == expected.seal) return {};
    return fmt::format("checksum {:016x} expected, {:016x} got", expected.seal, got);
  }
  // Each path answers for its own part.
  const Stripe& stripe = ledger->stripe();
  std::string wrong;
  const auto look = [&](std::int64_t place, int path) {
    if (!wrong.empty()) return;
    const auto found = check_trailer(expected.input, instance, expected.seal, data, place);
    if (!found) return;
    wrong = files.size() == 1
                ? *found
                : fmt::format("on {}, {}", files[static_cast<std::size_t>(path)]->name(), *found);
  };
  look(0, stripe.path_at_end(expected.input.body, expected.rotation));
  stripe.for_each_guard(expected.input.body, expected.rotation,
                        [&](std::int64_t k, int path, std::int64_t) { look(k + 1, path); });
  return wrong;
}

void Store::Impl::compare(const Expected& expected, const std::byte* data) const {
  const std::string wrong = difference(expected, data);
  if (wrong.empty()) return;
  const DataFile& file = *files[static_cast<std::size_t>(expected.path)];
  throw_error(Errc::corrupt,
              "section {} ({} bytes at offset {} of {}{}) is not what was written: {}; the device, "
              "or another process, changed it: look at dmesg and at the drive's SMART data",
              expected.input.section, expected.input.payload, expected.offset, file.name(),
              files.size() > 1 ? fmt::format(", striped over {} paths", files.size()) : "", wrong);
}

Store::Store(io::Engine& engine, const StoreOptions& options)
    : impl_(std::make_unique<Impl>(engine, options)) {}

Store::~Store() {
  // The destructors behind impl_ would close descriptors that the fork has closed already, and
  // take locks that threads of the parent may have held.
  if (!impl_->in_our_process()) {
    Impl::keep(std::move(impl_));
    return;
  }
  bool abandoned = false;
  {
    const std::lock_guard lock(impl_->mutex);
    abandoned = impl_->transfers > 0;
  }
  if (!abandoned) return;
  for (const auto& file : impl_->files) {
    log::error(
        "{} still has transfers in flight: its descriptor and its books are left behind, so "
        "that what the device does late harms nobody",
        file->name());
    file->abandon();
  }
  Impl::keep(std::move(impl_));
}

std::int64_t Store::footprint(std::int64_t bytes) const { return impl_->ledger->footprint(bytes); }

SectionId Store::reserve(std::span<const std::int64_t> tiles, int sections_per_tile,
                         int tiles_in_flight, int owner) {
  Impl& impl = *impl_;
  impl.require_our_process();
  const std::lock_guard shape(impl.shape);
  Ledger::Plan plan;
  {
    const std::lock_guard lock(impl.mutex);
    plan = impl.ledger->plan(tiles, sections_per_tile, tiles_in_flight, owner);
  }
  std::vector<std::int64_t> before;
  for (const auto& file : impl.files) before.push_back(file->size());
  try {
    for (std::size_t i = 0; i < impl.files.size(); ++i) impl.files[i]->grow(plan.ends[i]);
    const std::lock_guard lock(impl.mutex);
    return impl.ledger->enter(std::move(plan));
  } catch (...) {
    for (std::size_t i = 0; i < impl.files.size(); ++i) impl.files[i]->shrink(before[i]);
    throw;
  }
}

void Store::release(SectionId first, std::int64_t count) {
  Impl& impl = *impl_;
  impl.require_our_process();
  const std::lock_guard shape(impl.shape);
  {
    const std::lock_guard lock(impl.mutex);
    impl.ledger->release(first, count);
  }
  // Changed only under `shape`. Nothing is allocated here: a destructor may stand behind it.
  const std::vector<std::int64_t>& ends = impl.ledger->ends();
  for (std::size_t i = 0; i < impl.files.size(); ++i) impl.files[i]->shrink(ends[i]);
}

bool Store::written(SectionId section) const {
  impl_->require_our_process();
  const std::lock_guard lock(impl_->mutex);
  return impl_->ledger->written(section);
}

void Store::forget(SectionId section) {
  impl_->require_our_process();
  const std::lock_guard lock(impl_->mutex);
  impl_->ledger->forget(section);
}

std::int64_t Store::payload_bytes(SectionId section) const {
  impl_->require_our_process();
  const std::lock_guard lock(impl_->mutex);
  return impl_->ledger->section(section).payload;
}

std::int64_t Store::footprint(SectionId section) const { return footprint(payload_bytes(section)); }

SealInput Store::Impl::taken_seal_input(SectionId section) const {
  require_our_process();
  const std::lock_guard lock(mutex);
  return seal_input(section);
}

void Store::clear_padding(SectionId section, std::byte* data) const {
  const SealInput input = impl_->taken_seal_input(section);
  const std::int64_t end = input.body + input.guards * input.guard;
  // Nothing of other tensors, or of the process, goes to the disk in the padding.
  std::memset(data + input.payload, 0, static_cast<std::size_t>(end - input.payload));
}

std::uint64_t Store::checksum_of(SectionId section, const std::byte* data) const {
  SPILLWAY_CHECK(impl_->checksums, "without checksums a trailer goes behind the bytes");
  return checksum(impl_->taken_seal_input(section), data);
}

std::uint64_t Store::seal(SectionId section, std::byte* data) const {
  clear_padding(section, data);
  if (impl_->checksums) return checksum_of(section, data);
  const SealInput input = impl_->taken_seal_input(section);
  const std::uint64_t number = impl_->next_number.fetch_add(1, std::memory_order_relaxed);
  put_trailer(input, impl_->instance, number, data);
  return number;
}

std::int64_t Store::alignment() const { return impl_->alignment; }

bool Store::checksums() const { return impl_->checksums; }

std::int64_t Store::allocated_bytes() const {
  std::int64_t total = 0;
  for (const auto& file : impl_->files) total += file->size();
  return total;
}

std::vector<PathReport> Store::report() const {
  std::vector<PathReport> reports;
  for (const auto& file : impl_->files) reports.push_back(file->report());
  return reports;
}

}  // namespace spillway::store
