#include <atomic>
#include <deque>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/throw.h"
#include "store/store_impl.h"

namespace spillway::store {

struct Transfer::Impl {
  Impl(Transfer& the_transfer, Store::Impl& the_store, int max_sections)
      : transfer(the_transfer), store(the_store), most(static_cast<std::size_t>(max_sections)) {}

  struct Part {
    SectionId section = no_section;
    io::Op op = io::Op::read;
    std::byte* data = nullptr;
    std::uint64_t seal = 0;
    Ledger::Place place;             // while in flight
    Store::Impl::Expected expected;  // of a read
    std::size_t end = 0;             // of its requests
  };

  void add(SectionId section, io::Op op, std::byte* data, std::uint64_t seal);
  void make_room(std::int64_t runs);
  void prepare();
  void settle(bool success);
  void start();
  void ended() noexcept;
  std::size_t part_of(std::size_t request) const;
  static void on_request(io::Request& request, void* context);

  Transfer& transfer;
  Store::Impl& store;
  const std::size_t most;
  std::vector<Part> parts;
  std::deque<io::Request> requests;  // in place: the engine knows them by address
  std::size_t used = 0;              // of requests, in this round
  std::vector<io::Request*> batch;   // for the engine
  std::int64_t runs = 0;             // that the parts may take
  std::int64_t total = 0;            // [bytes]

  io::Service service = io::Service::demand;
  Callback callback = nullptr;
  void* context = nullptr;
  std::atomic<std::size_t> left{0};                  // requests of the batch that are not done
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

void Transfer::Impl::add(SectionId section, io::Op op, std::byte* data, std::uint64_t seal) {
  SPILLWAY_CHECK(!in_flight.load(std::memory_order_acquire), "a transfer in flight stays as it is");
  SPILLWAY_CHECK(parts.size() < most, "a transfer has the sections that it was made for");
  {
    const std::lock_guard lock(store.mutex);
    const std::int64_t payload = store.ledger->section(section).payload;
    runs += store.ledger->stripe().max_runs(store.ledger->body(payload));
    total += store.ledger->footprint(payload);
  }
  Part& part = parts.emplace_back();
  part.section = section;
  part.op = op;
  part.data = data;
  part.seal = seal;
  // For sections of a size that was not there yet when the transfer was made.
  make_room(runs);
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
    const int rotation = ledger.slots().rotation(part.place.slot);
    ledger.stripe().for_each_run(part.place.body, rotation, [&](const Stripe::Run& run) {
      io::Request& request = requests[used++];
      request.op = part.op;
      request.file = store.files[static_cast<std::size_t>(run.path)]->id();
      request.offset = ledger.slots().offset(part.place.slot, run.path) + run.offset;
      request.data = part.data + run.at;
      request.bytes = run.bytes;
      request.callback = &Impl::on_request;
      request.context = this;
    });
    part.end = used;
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

void Transfer::submit(io::Service service, Callback callback, void* context) {
  Impl& impl = *impl_;
  impl.store.require_our_process();
  SPILLWAY_CHECK(!in_flight(), "a transfer is submitted once at a time");
  SPILLWAY_CHECK(!impl.parts.empty(), "a transfer moves something");
  impl.result = Impl::Result::none;
  impl.trouble.reset();
  impl.prepare();
  impl.service = service;
  impl.callback = callback;
  impl.context = context;
  impl.first_failure.store(nullptr, std::memory_order_relaxed);
  impl.batch.clear();
  for (std::size_t i = 0; i < impl.used; ++i) {
    impl.requests[i].service = service;
    impl.batch.push_back(&impl.requests[i]);
  }
  impl.in_flight.store(true, std::memory_order_release);
  try {
    impl.start();
  } catch (...) {
    impl.settle(false);
    impl.in_flight.store(false, std::memory_order_release);
    throw;
  }
}

void Transfer::Impl::start() {
  left.store(batch.size(), std::memory_order_release);
  store.engine.submit(batch);
}

void Transfer::Impl::on_request(io::Request& request, void* context) {
  Impl& self = *static_cast<Impl*>(context);
  if (request.outcome().error != 0 && !request.outcome().cancelled) {
    io::Request* none = nullptr;
    self.first_failure.compare_exchange_strong(none, &request, std::memory_order_acq_rel);
  }
  // The last one ends the transfer. acq_rel: what the others left behind is seen here.
  if (self.left.fetch_sub(1, std::memory_order_acq_rel) == 1) self.ended();
}

// All requests are done.
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
      return start();
    } catch (const Error& error) {
      trouble = error;
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

void Transfer::verify(SectionId section, const std::byte* data) const {
  SPILLWAY_CHECK(ok(), "only what was read is verified");
  for (const Impl::Part& part : impl_->parts) {
    if (part.section == section && part.op == io::Op::read) {
      return impl_->store.compare(part.expected, data);
    }
  }
  SPILLWAY_CHECK(false, "only what was read is verified");
}

}  // namespace spillway::store
