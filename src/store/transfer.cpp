#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/current_error.h"
#include "base/throw.h"
#include "store/store_impl.h"

namespace spillway::store {

struct Transfer::Impl {
  Impl(Transfer& the_transfer, Store::Impl& the_store, int max_sections)
      : transfer(the_transfer), store(the_store), most(static_cast<std::size_t>(max_sections)) {}

  struct Part {
    Impl* of = nullptr;
    SectionId section = no_section;
    io::Op op = io::Op::read;
    std::byte* data = nullptr;
    std::uint64_t seal = 0;
    bool sealed = true;              // of a write: not yet, where its seal is still to come
    Ledger::Place place;             // while in flight
    Store::Impl::Expected expected;  // of a read
    std::size_t end = 0;             // of its requests
    std::size_t missing = 1;         // requests that have not succeeded; atomic_ref in flight
  };

  Part& add(SectionId section, io::Op op, std::byte* data, std::uint64_t seal);
  void make_room(std::int64_t runs);
  void prepare();
  void settle(bool success);
  void start(std::size_t seals_to_come);
  void one_less() noexcept;
  void ended() noexcept;
  std::size_t part_of(std::size_t request) const;
  Part* find(SectionId section, io::Op op);
  static void on_request(io::Request& request, void* context);

  Transfer& transfer;
  Store::Impl& store;
  const std::size_t most;
  std::vector<Part> parts;           // in place: never more than `most`
  std::deque<io::Request> requests;  // in place: the engine knows them by address
  std::size_t used = 0;              // of requests, in this round
  std::vector<io::Request*> batch;   // for the engine
  std::int64_t runs = 0;             // that the parts may take
  std::int64_t total = 0;            // [bytes]

  io::Service service = io::Service::demand;
  Callback callback = nullptr;
  Callback arrived = nullptr;
  void* context = nullptr;
  std::atomic<std::size_t> left{0};  // requests of the batch that are not done, seals to come
  std::atomic<io::Request*> first_failure{nullptr};  // in time
  std::atomic<bool> in_flight{false};

  // The result of the last round; the I/O thread's until in_flight is false.
  enum class Result { none, ok, failed, cancelled } result = Result::none;
  std::optional<Error> trouble;  // where no request tells it
};

Transfer::Transfer(Store& store, int max_sections)
    : impl_(std::make_unique<Impl>(*this, *store.impl_, max_sections)) {
  SPILLWAY_CHECK(max_sections > 0, "a transfer moves something");
  impl_->parts.reserve(impl_->most);
  std::int64_t runs = 0;
  {
    const std::lock_guard lock(impl_->store.mutex);
    runs = impl_->store.ledger->max_runs();
  }
  impl_->make_room(runs * max_sections);
}

Transfer::~Transfer() {
  SPILLWAY_CHECK(
      !impl_->in_flight.load(std::memory_order_acquire) || !impl_->store.in_our_process(),
      "a transfer lives until it is done");
}

void Transfer::Impl::make_room(std::int64_t more) {
  while (static_cast<std::int64_t>(requests.size()) < more) requests.emplace_back();
  batch.reserve(requests.size());
}

Transfer::Impl::Part& Transfer::Impl::add(SectionId section, io::Op op, std::byte* data,
                                          std::uint64_t seal) {
  SPILLWAY_CHECK(!in_flight.load(std::memory_order_acquire), "a transfer in flight stays as it is");
  SPILLWAY_CHECK(parts.size() < most, "a transfer has the sections that it was made for");
  {
    const std::lock_guard lock(store.mutex);
    const std::int64_t payload = store.ledger->section(section).payload;
    runs += store.ledger->stripe().max_runs(store.ledger->body(payload));
    total += store.ledger->footprint(payload);
  }
  Part& part = parts.emplace_back();
  part.of = this;
  part.section = section;
  part.op = op;
  part.data = data;
  part.seal = seal;
  // For sections of a size that was not there yet when the transfer was made.
  make_room(runs);
  return part;
}

void Transfer::clear() {
  SPILLWAY_CHECK(!in_flight(), "a transfer in flight stays as it is");
  impl_->parts.clear();
  impl_->used = 0;
  impl_->runs = 0;
  impl_->total = 0;
  impl_->result = Impl::Result::none;
  impl_->trouble.reset();
}

void Transfer::add_read(SectionId section, std::byte* to) {
  impl_->add(section, io::Op::read, to, 0);
}

void Transfer::add_write(SectionId section, const std::byte* from, std::uint64_t seal) {
  // The engine only reads from it; its requests have one pointer for both directions.
  impl_->add(section, io::Op::write, const_cast<std::byte*>(from), seal);
}

void Transfer::add_unsealed_write(SectionId section, const std::byte* from) {
  SPILLWAY_CHECK(impl_->store.checksums, "without checksums a seal is part of what is written");
  impl_->add(section, io::Op::write, const_cast<std::byte*>(from), 0).sealed = false;
}

// Takes slots and pins, all or none, and lays the requests over their extents.
void Transfer::Impl::prepare() {
  const std::lock_guard lock(store.mutex);
  Ledger& ledger = *store.ledger;
  used = 0;
  for (Part& part : parts) {
    part.place = {};
    if (part.op == io::Op::read) {
      part.place = ledger.start_read(part.section);
      part.expected = store.expected(part.section);
    } else if (const auto fresh = ledger.start_write(part.section)) {
      part.place = *fresh;
    } else {
      for (Part& other : parts) {
        if (&other == &part) break;
        if (other.op == io::Op::read) {
          ledger.finish_read(other.place.slot);
        } else {
          ledger.abandon_write(other.place.slot);
        }
      }
      throw_error(Errc::busy,
                  "no spare slot of {} bytes is free under {}: more tiles are being written at a "
                  "time than were announced",
                  ledger.footprint(ledger.section(part.section).payload),
                  store.files.front()->nvme_path());
    }
    const std::size_t begin = used;
    const int rotation = ledger.slots().rotation(part.place.slot);
    ledger.stripe().for_each_run(part.place.body, rotation, [&](const Stripe::Run& run) {
      io::Request& request = requests[used++];
      request.op = part.op;
      request.file = store.files[static_cast<std::size_t>(run.path)]->id();
      request.offset = ledger.slots().offset(part.place.slot, run.path) + run.offset;
      request.data = part.data + run.at;
      request.bytes = run.bytes;
      request.callback = &Impl::on_request;
      request.context = &part;
    });
    part.end = used;
    part.missing = part.end - begin;
  }
  ++store.transfers;
}

// The flip, or the way back; all sections in one go.
void Transfer::Impl::settle(bool success) {
  const std::lock_guard lock(store.mutex);
  Ledger& ledger = *store.ledger;
  for (const Part& part : parts) {
    if (part.op == io::Op::read) {
      ledger.finish_read(part.place.slot);
    } else if (success) {
      ledger.finish_write(part.section, part.place.slot, part.seal);
    } else {
      ledger.abandon_write(part.place.slot);
    }
  }
  --store.transfers;
}

void Transfer::submit(io::Service service, Callback callback, void* context, Callback arrived) {
  Impl& impl = *impl_;
  impl.store.require_our_process();
  SPILLWAY_CHECK(!in_flight(), "a transfer is submitted once at a time");
  SPILLWAY_CHECK(!impl.parts.empty(), "a transfer moves something");
  impl.result = Impl::Result::none;
  impl.trouble.reset();
  impl.prepare();
  impl.service = service;
  impl.callback = callback;
  impl.arrived = arrived;
  impl.context = context;
  impl.first_failure.store(nullptr, std::memory_order_relaxed);
  impl.batch.clear();
  for (std::size_t i = 0; i < impl.used; ++i) {
    impl.requests[i].service = service;
    impl.batch.push_back(&impl.requests[i]);
  }
  impl.in_flight.store(true, std::memory_order_release);
  const auto to_come = std::count_if(impl.parts.begin(), impl.parts.end(),
                                     [](const Impl::Part& part) { return !part.sealed; });
  try {
    impl.start(static_cast<std::size_t>(to_come));
  } catch (...) {
    impl.settle(false);
    impl.in_flight.store(false, std::memory_order_release);
    throw;
  }
}

void Transfer::Impl::start(std::size_t seals_to_come) {
  left.store(batch.size() + seals_to_come, std::memory_order_release);
  store.engine.submit(batch);
}

void Transfer::give_seal(SectionId section, std::uint64_t seal) {
  Impl::Part* const part = impl_->find(section, io::Op::write);
  SPILLWAY_CHECK(part != nullptr && !part->sealed && in_flight(), "a seal is given once");
  part->seal = seal;
  part->sealed = true;
  impl_->one_less();
}

void Transfer::Impl::on_request(io::Request& request, void* context) {
  Part& part = *static_cast<Part*>(context);
  Impl& self = *part.of;
  if (request.outcome().error == 0) {
    const bool whole = std::atomic_ref(part.missing).fetch_sub(1, std::memory_order_acq_rel) == 1;
    if (whole && part.op == io::Op::read && self.arrived != nullptr)
      self.arrived(self.transfer, self.context);
  } else if (!request.outcome().cancelled) {
    io::Request* none = nullptr;
    self.first_failure.compare_exchange_strong(none, &request, std::memory_order_acq_rel);
  }
  self.one_less();
}

// The last one ends the transfer. acq_rel: what the others left behind is seen here.
void Transfer::Impl::one_less() noexcept {
  if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) ended();
}

// All requests are done, and all seals are there.
void Transfer::Impl::ended() noexcept {
  batch.clear();
  for (std::size_t i = 0; i < used; ++i) {
    if (requests[i].outcome().cancelled) batch.push_back(&requests[i]);
  }
  if (first_failure.load(std::memory_order_acquire) != nullptr) {
    result = Result::failed;
  } else if (batch.size() == used) {
    result = Result::cancelled;
  } else if (!batch.empty()) {
    // cancel() came when a part was under way already, so it was refused: the rest goes on.
    try {
      return start(0);
    } catch (...) {
      trouble = current_error(store.no_memory);
      result = Result::failed;
    }
  } else {
    result = Result::ok;
  }
  settle(result == Result::ok);
  const Callback call = callback;
  void* const with = context;
  Transfer& of = transfer;
  in_flight.store(false, std::memory_order_release);
  if (call != nullptr) call(of, with);  // which may have been the end of *this
}

void Transfer::promote() {
  if (!in_flight()) return;
  for (std::size_t i = 0; i < impl_->used; ++i) impl_->store.engine.promote(impl_->requests[i]);
}

bool Transfer::in_flight() const { return impl_->in_flight.load(std::memory_order_acquire); }

bool Transfer::cancel() {
  if (!in_flight()) return false;
  // From the back, where requests are most likely to be queued still. True of all means that all
  // end cancelled; otherwise ended() submits again what was taken back.
  bool all = true;
  for (std::size_t i = impl_->used; i-- > 0;) {
    all = impl_->store.engine.cancel(impl_->requests[i]) && all;
    if (!all) break;
  }
  return all;
}

bool Transfer::ok() const { return impl_->result == Impl::Result::ok; }

bool Transfer::cancelled() const { return impl_->result == Impl::Result::cancelled; }

std::size_t Transfer::Impl::part_of(std::size_t request) const {
  std::size_t part = 0;
  while (parts[part].end <= request) ++part;
  return part;
}

SectionId Transfer::failed() const {
  if (impl_->result != Impl::Result::failed) return no_section;
  const io::Request* const failure = impl_->first_failure.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < impl_->used; ++i) {
    const io::Request& request = impl_->requests[i];
    const bool it = failure != nullptr ? &request == failure : request.outcome().cancelled;
    if (it) return impl_->parts[impl_->part_of(i)].section;
  }
  return no_section;
}

Error Transfer::error() const {
  SPILLWAY_CHECK(!in_flight() && !ok(), "only what has failed has an error");
  if (impl_->trouble) return *impl_->trouble;
  if (const io::Request* const failure = impl_->first_failure.load(std::memory_order_acquire)) {
    return impl_->store.engine.error_of(*failure);
  }
  return Error(Errc::cancelled, "the transfer was taken back before it began");
}

std::int64_t Transfer::bytes() const { return impl_->total; }

Transfer::Impl::Part* Transfer::Impl::find(SectionId section, io::Op op) {
  for (Part& part : parts) {
    if (part.section == section && part.op == op) return &part;
  }
  return nullptr;
}

void Transfer::verify(SectionId section, const std::byte* data) const {
  const Impl::Part* const part = impl_->find(section, io::Op::read);
  SPILLWAY_CHECK(ok() && part != nullptr, "only what was read is verified");
  impl_->store.compare(part->expected, data);
}

bool Transfer::has_arrived(SectionId section) const {
  Impl::Part* const part = impl_->find(section, io::Op::read);
  return part != nullptr && std::atomic_ref(part->missing).load(std::memory_order_acquire) == 0;
}

bool Transfer::matches(SectionId section, const std::byte* data) const noexcept {
  SPILLWAY_CHECK(has_arrived(section), "only what is there is compared");
  try {
    return impl_->store.difference(impl_->find(section, io::Op::read)->expected, data).empty();
  } catch (...) {
    return false;  // no memory for the words that say what is wrong
  }
}

}  // namespace spillway::store
