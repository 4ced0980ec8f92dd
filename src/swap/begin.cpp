// begin(), close(), and what a pass leaves behind.

#include <algorithm>
#include <exception>

#include "base/log.h"
#include "base/throw.h"
#include "swap/swapper.h"

namespace spillway::swap {
namespace {

std::uint32_t mask_of(const Layout& layout, const StateNames& names, const char* what) {
  std::uint32_t mask = 0;
  for (const std::string& name : names.names()) {
    const int s = layout.find(name);
    if (s < 0)
      throw_error(Errc::invalid_argument,
                  "the pass would {} state \"{}\", which this optimizer does not have", what, name);
    mask |= 1u << s;
  }
  return mask;
}

}  // namespace

PassState* Swapper::begin(const Pass& request) { return begin(request, nullptr); }

PassState* Swapper::begin(const Pass& request, const Internal* internal) {
  Lock lock(mutex_, std::defer_lock);
  do {  // whenever the mutex was let go, somebody may have added parameters, or be sealing them
    if (lock.owns_lock()) lock.unlock();
    seal();
    lock.lock();
    // A seal holds the mutex while it waits for the I/O thread, so no write may be under way then.
    if (!sealed()) continue;
    retry_failed_writes();
    await_leftovers(lock);
  } while (!sealed() || writes_initial_values());
  return open(request, internal);
}

// With the mutex, and with everything sealed.
PassState* Swapper::open(const Pass& request, const Internal* internal) {
  if (request.step && *request.step < 0)
    throw_error(Errc::invalid_argument, "step {} is negative: steps count from 0", *request.step);
  auto pass = std::make_unique<PassState>();
  pass->step = request.step;
  pass->read = mask_of(table_.layout(), request.read, "read");
  pass->write = mask_of(table_.layout(), request.write, "write");
  if (request.read.empty() && request.write.empty())
    pass->read = pass->write =
        static_cast<std::uint32_t>((std::uint64_t{1} << table_.states()) - 1);

  std::vector<bool> in_pass(table_.units().size(), request.units.all());
  if (!request.units.all())
    for (UnitId id : request.units.ids())
      in_pass[static_cast<std::size_t>(table_.checked(id))] = true;
  if (!request.only.all()) {
    pass->every_parameter = false;
    pass->chosen.assign(table_.params().size(), false);
    std::vector<bool> needed(in_pass.size(), false);
    for (ParamId id : request.only.ids()) {
      const UnitId home = table_.param(table_.checked(id)).unit;
      pass->chosen[static_cast<std::size_t>(id)] = in_pass[static_cast<std::size_t>(home)];
      needed[static_cast<std::size_t>(home)] = true;
    }
    for (std::size_t u = 0; u < in_pass.size(); ++u) in_pass[u] = in_pass[u] && needed[u];
  }
  for (std::size_t u = 0; u < in_pass.size(); ++u)
    if (in_pass[u]) pass->units.push_back(static_cast<UnitId>(u));

  for (UnitId id : pass->units)
    if (table_.unit(id).pass != nullptr)
      throw_error(
          Errc::busy,
          "optimizer \"{}\": a pass over unit \"{}\" is open already; finish it (or give its "
          "tiles back) first. Passes over disjoint units may be open together",
          options_.name, table_.unit(id).name);
  for (auto& lease : leases_)
    if (lease->state == LeaseState::failed &&
        std::find(pass->units.begin(), pass->units.end(), table_.tiles()[lease->tile].unit) !=
            pass->units.end())
      throw explain(*lease, "is committed and still cannot be written");
  if (internal == nullptr) {
    check_order(*pass);
  } else {
    pass->from = internal->from;
    pass->to = internal->to;
    pass->first_tile = internal->first_tile;
    pass->sealing = internal->sealing;
  }

  pass->upcoming.reserve(static_cast<std::size_t>(buffers_) * table_.max_slices());
  passes_.push_back(std::move(pass));
  PassState* open = passes_.back().get();
  for (UnitId id : open->units) table_.unit(id).pass = open;
  return open;
}

// A step that was left half done must be finished, and torn parameters written, before anything
// else reads them.
void Swapper::check_order(const PassState& pass) const {
  const bool replaces = pass.read == 0 && !pass.step;
  for (UnitId id : pass.units) {
    const UnitRecord& unit = table_.units()[static_cast<std::size_t>(id)];
    if (unit.unfinished != no_step && pass.step != unit.unfinished && !replaces)
      throw_error(
          Errc::step_incomplete,
          "optimizer \"{}\": step {} was left incomplete in unit \"{}\": some of its tiles are "
          "new and some are old. Resume it with begin({{.step = {}}}), or load all states "
          "with a pass that only writes",
          options_.name, unit.unfinished, unit.name, unit.unfinished);
  }
  const std::vector<ParamId> torn = torn_params(pass, pass.read);
  if (torn.empty()) return;
  std::string names;
  for (std::size_t i = 0; i < torn.size() && i < 8; ++i)
    names += fmt::format("{}\"{}\"", i == 0 ? "" : ", ",
                         table_.params()[static_cast<std::size_t>(torn[i])].name);
  throw StepError(
      fmt::format("optimizer \"{}\": {} parameter(s) are torn between old and new ({}{}): a tile "
                  "was dropped half changed. Write their states again (write_state, or a pass "
                  "that only writes) before a pass reads them; `undo` avoids this",
                  options_.name, torn.size(), names, torn.size() > 8 ? ", ..." : ""),
      torn);
}

std::vector<ParamId> Swapper::torn_params(const PassState& pass, std::uint32_t states) const {
  std::vector<ParamId> torn;
  for (UnitId id : pass.units)
    for (const SliceRecord& slice : table_.unit(id).slices)
      if ((slice.torn & states) != 0 && selects(pass, slice) &&
          (torn.empty() || torn.back() != slice.param))
        torn.push_back(slice.param);
  return torn;
}

// Committed bytes that could not be written wait in their buffers: a pass may go on only when those
// of its units are safe.
void Swapper::retry_failed_writes() {
  for (auto& lease : leases_) {
    if (lease->state != LeaseState::failed) continue;
    lease->attempts = 0;
    lease->error.reset();
    start_write(*lease);
  }
}

// Waits for the I/O of passes that nobody holds any more, so that it is over when the next call
// changes or visits their tiles.
void Swapper::await_leftovers(Lock& lock) {
  double ignored = 0;
  wait(lock, ignored, "I/O of an earlier pass", [&] {
    return std::none_of(passes_.begin(), passes_.end(),
                        [](const auto& pass) { return !pass->settled && pass->left(); }) &&
           std::none_of(leases_.begin(), leases_.end(), [](const auto& lease) {
             return lease->state == LeaseState::writing && lease->pass == nullptr;
           });
  });
}

bool Swapper::holds_failed(UnitId unit) const {
  return std::any_of(leases_.begin(), leases_.end(), [&](const auto& lease) {
    return lease->state == LeaseState::failed && table_.tiles()[lease->tile].unit == unit;
  });
}

void Swapper::close(PassState* pass) noexcept {
  Lock lock(mutex_);
  pass->closed = true;
  for (auto& lease : leases_) {
    if (lease->pass != pass) continue;
    if (lease->state == LeaseState::ready && !lease->claimed)
      release(*lease);
    else if (lease->state == LeaseState::reading)
      lease->transfer->cancel();  // what is in flight comes back soon
  }
  moved_.notify_all();  // buffers became free
  pass->draining = true;
  const bool drained = wait_moving(lock, [&] { return pass->reading == 0 && pass->writing == 0; });
  pass->draining = false;
  if (!drained)
    log::error("optimizer \"{}\": a pass was closed and the device has not answered for {:.0f} s",
               options_.name, io_.timeout);
  if (pass->error)
    log::warning("optimizer \"{}\": a pass ended early: {}", options_.name, pass->error->what());
  finish(*pass);
}

// Ends a pass once its Run is gone or has come to the end and nothing of it is under way: its units
// are free for the next one, and what it left incomplete is marked. So a Run that has been pulled
// to its end may stay in scope.
void Swapper::finish(PassState& pass) {
  if (!(pass.closed || pass.exhausted) || pass.draining || pass.held > 0 || pass.reading > 0 ||
      pass.writing > 0)
    return;
  if (!pass.settled) settle(pass);
  moved_.notify_all();
  if (pass.closed) std::erase_if(passes_, [&](const auto& open) { return open.get() == &pass; });
}

void Swapper::settle(PassState& pass) {
  pass.settled = true;
  for (auto& lease : leases_)
    if (lease->pass == &pass)
      lease->pass = nullptr;  // committed, not written: for the next begin()
  bool incomplete = false;
  for (UnitId id : pass.units) {
    UnitRecord& unit = table_.unit(id);
    unit.pass = nullptr;
    if (pass.write == 0) continue;
    const bool failed = holds_failed(id);
    if (pass.step && pass.committed) {
      bool owes = failed;
      for (SliceRecord& slice : unit.slices) {
        if (!selects(pass, slice) || slice.holds(*pass.step, pass.write)) continue;
        slice.owed |= slice.step == *pass.step ? pass.write & ~slice.stepped : pass.write;
        owes = true;
      }
      if (owes) unit.unfinished = *pass.step;
    }
    settle_step(unit, failed);
    incomplete |= pass.step && unit.unfinished == *pass.step;
  }
  if (incomplete)
    log::warning(
        "optimizer \"{}\": step {} was left early; begin() with the same number resumes it",
        options_.name, *pass.step);
  read_ahead_all();
}

// An unfinished step is over when nothing is owed to it any more, or when nothing holds it: all of
// the unit was loaded from elsewhere, and it has never happened.
void Swapper::settle_step(UnitRecord& unit, bool failed) {
  if (unit.unfinished == no_step) return;
  bool holds = false, owes = failed;
  for (const SliceRecord& slice : unit.slices) {
    if (!table_.param(slice.param).live) continue;
    holds |= slice.step == unit.unfinished;
    owes |= slice.owed != 0;
  }
  if (holds && owes) return;
  unit.unfinished = no_step;
  for (SliceRecord& slice : unit.slices) slice.owed = 0;
}

}  // namespace spillway::swap
