// Reading ahead: along the learned order without being asked, and where prefetch() asks for it.

#include <algorithm>

#include "base/log.h"
#include "swap/parameters.h"

namespace spillway::swap {

// Somebody is changing some of it, or what was changed is not in the store yet, or the cache has a
// copy still that could not be read.
bool Parameters::excluded(const Tensor& tensor, const Blocks& blocks) const {
  if (tensor.cached != nullptr && tensor.cached->read_failed()) return true;
  for (const Part* part = tensor.parts; part != nullptr; part = part->next)
    if (part->exclusive && part->blocks.meets(blocks)) return true;
  for (const Copy* copy = tensor.copies; copy != nullptr; copy = copy->next)
    if (!copy->gone && copy->blocks.meets(blocks) && copy->newer()) return true;
  return false;
}

bool Parameters::here_or_coming(const Tensor& tensor, const Blocks& blocks) const {
  if (blocks.empty() || tensor.home != nullptr) return true;
  if (tensor.cached != nullptr) return !tensor.cached->read_failed();
  for (const Copy* copy = tensor.copies; copy != nullptr; copy = copy->next)
    if (!copy->gone && !copy->read_failed() && copy->blocks.covers(blocks)) return true;
  return false;
}

void Parameters::begin_ahead(std::span<Copy* const> copies) noexcept {
  for (Copy* copy : copies) copy->ahead = true;
  stats_.prefetches += std::ssize(copies);
  start_reads(copies, io::Service::prefetch);
}

// With the mutex, wherever room may have become free or the order gone on. No more is begun than
// keeps the device busy: what waits for the device would hold memory that is worth something as it
// is, and the memory that is used again soonest is still in the processor's cache.
void Parameters::run_ahead() noexcept {
  if (in_run_ahead_ || volume_ == nullptr || pool_ == nullptr || !queue_.empty()) return;
  if (!cache_.forecast().known()) return;
  if (generation_ != cache_.generation()) {
    generation_ = cache_.generation();
    ahead_ = 0;
  }
  in_run_ahead_ = true;  // a write that it starts may fail at once, and come back here
  try {
    while (ahead_bytes_ < 2 * io_.read_budget) {
      const auto use = cache_.next_missing(ahead_);
      if (!use) break;
      if (!read_ahead(*use)) break;
      ahead_ = use->when + 1;
    }
  } catch (const std::exception& error) {
    log::warning("\"{}\": reading ahead stopped: {}", options_.name, error.what());
  }
  in_run_ahead_ = false;
}

// False: there is no room now.
bool Parameters::read_ahead(const cache::Use& use) {
  Tensor& tensor = tensors_[use.id];
  const Blocks blocks = all(tensor);
  // What a step is going to overwrite would be read in vain.
  if (use.when >= cache_.forecast().pass_end() && !cache_.forecast().stepped()) return false;
  if (!tensor.live || !tensor.written || here_or_coming(tensor, blocks)) return true;
  // It can be read in a moment. What comes behind it would take the room that it needs.
  for (const Copy* copy = tensor.copies; copy != nullptr; copy = copy->next)
    if (!copy->gone && (copy->writing || copy->queued)) return false;
  if (excluded(tensor, blocks)) return true;
  switch (admit(tensor, use.when)) {
    case Admission::in: {
      Copy* const copy = tensor.cached;
      begin_ahead(std::span(&copy, 1));
      return true;
    }
    case Admission::cleaning: return false;
    case Admission::refused: break;
  }
  return into_pool(tensor, use.when, false);
}

// Reads a tensor into the pool, and the small ones that lie next to it in its unit with it, in one
// movement.
bool Parameters::into_pool(Tensor& tensor, cache::Time when, bool wanted) {
  const std::int64_t small = std::min(2 * MiB, offload_.buffer_size);
  if (pool_ == nullptr) return false;
  const std::vector<std::uint32_t>& unit = units_[static_cast<std::size_t>(tensor.unit)].tensors;
  const auto self = std::lower_bound(unit.begin(), unit.end(), tensor.id);
  std::int64_t total = footprint(tensor, all(tensor));
  auto end = self + 1;
  for (; end != unit.end(); ++end) {
    const Tensor& next = tensors_[*end];
    const std::int64_t more = footprint(next, all(next));
    if (more >= small || more == 0 || next.address != tensor.address + total || !next.written ||
        here_or_coming(next, all(next)) || excluded(next, all(next)) ||
        total + more > pool_->budget_bytes())
      break;
    total += more;
  }
  const auto count = static_cast<std::size_t>(end - self);
  spare_copies(count);
  std::vector<Copy*> fresh;
  fresh.reserve(count);
  PoolRun* const run = take_run(total, tensor.name, count, when);
  if (run == nullptr) return false;
  run->wanted = wanted;
  std::byte* at = run->memory.data();
  for (auto member = self; member != end; ++member) {
    Tensor& one = tensors_[*member];
    fresh.push_back(new_copy(one, all(one), at, run));
    link(*fresh.back());
    at += footprint(one, all(one));
  }
  begin_ahead(fresh);
  return true;
}

// ---- asked for

bool Parameters::prefetch_whole(Tensor& tensor) {
  const Blocks blocks = all(tensor);
  if (here_or_coming(tensor, blocks) || !tensor.written) return true;
  if (excluded(tensor, blocks)) return false;
  const bool known = cache_.forecast().known();
  const cache::Time next = known ? cache_.forecast().next_use(tensor.id) : cache::never;
  // Where nothing is known, it may have what is free, but displaces nothing that is cached.
  const bool may_enter =
      known ? next != cache::never : cache_.cap() - cache_.used() >= tensor.elements;
  if (may_enter && admit(tensor, known ? next : 0) == Admission::in) {
    Copy* const copy = tensor.cached;
    begin_ahead(std::span(&copy, 1));
    return true;
  }
  return into_pool(tensor, known && next != cache::never ? next : 1, true);
}

bool Parameters::prefetch_part(Tensor& tensor, const Blocks& blocks) {
  if (here_or_coming(tensor, blocks) || !tensor.written) return true;
  if (excluded(tensor, blocks)) return false;
  spare_copies(1);
  PoolRun* const run = take_run(footprint(tensor, blocks), tensor.name, 1, 1);
  if (run == nullptr) return false;
  run->wanted = true;
  Copy* const copy = new_copy(tensor, blocks, run->memory.data(), run);
  link(*copy);
  begin_ahead(std::span(&copy, 1));
  return true;
}

int Parameters::prefetch(std::span<const UnitId> wanted) {
  Lock lock = lock_sealed();
  for (const UnitId id : wanted) static_cast<void>(unit(id));
  int accepted = 0;
  for (const UnitId id : wanted) {
    bool all_of_it = true;
    for (const std::uint32_t index : unit(id).tensors) {
      if (!tensors_[index].live) continue;
      const bool taken = queue_.empty() ? prefetch_whole(tensors_[index])
                                        : here_or_coming(tensors_[index], all(tensors_[index]));
      if (!taken) ++stats_.prefetches_dropped;
      all_of_it = all_of_it && taken;
    }
    accepted += all_of_it ? 1 : 0;
  }
  return accepted;
}

int Parameters::prefetch(ParamId id, Range range) {
  Lock lock = lock_sealed();
  Tensor& one = tensor(id);
  check_range(one, range);
  if (range.count == 0) return 1;
  const Blocks blocks{range.offset / block_, blocks_of(range.offset + range.count)};
  bool taken = here_or_coming(one, blocks);
  if (!taken && queue_.empty())
    taken = range.count == one.elements ? prefetch_whole(one) : prefetch_part(one, blocks);
  if (!taken) ++stats_.prefetches_dropped;
  return taken ? 1 : 0;
}

}  // namespace spillway::swap
