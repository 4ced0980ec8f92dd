#include "spillway/optimizer_swapper.h"

#include <memory>

#include "base/log.h"
#include "base/throw.h"
#include "swap/keep_for_ever.h"
#include "swap/swapper.h"

#include "spillway/parameter_swapper.h"

namespace spillway {

std::span<std::byte> Slice::raw(std::string_view state, DType dtype, bool mutate) const {
  if (lease_ == nullptr)
    throw_error(Errc::invalid_argument,
                "an upcoming slice has no data yet: ask the slices of the tile itself");
  return lease_->swapper->bytes_of(*lease_, index_, state, dtype, mutate);
}

// ---- Tile

Tile::Tile(Tile&& other) noexcept : lease_(std::exchange(other.lease_, nullptr)) {}

Tile& Tile::operator=(Tile&& other) noexcept {
  if (this != &other) {
    Tile old(std::move(*this));
    lease_ = std::exchange(other.lease_, nullptr);
  }
  return *this;
}

Tile::~Tile() {
  swap::Lease* const lease = lease_;
  // Through a volatile, so that the store outlives the object: see nothing_to_commit().
  *const_cast<swap::Lease* volatile*>(&lease_) = nullptr;
  if (lease != nullptr && !lease->swapper->forked()) lease->swapper->drop(*lease);
}

namespace {

// GCC 12 destroys a variable declared in the condition of a for loop before the third clause runs
// (GCC bug 86769; clang has it right). There `for (...; auto tile = run.next(); tile->commit())`
// drops each tile and then commits what is no tile any more. It must not pass in silence.
[[noreturn]] void nothing_to_commit() {
  throw_error(
      Errc::invalid_argument,
      "this tile was committed already, moved from, or destroyed. If it was declared in the "
      "condition of a for loop and committed in its third clause: GCC destroys it before "
      "that (bug 86769); write while (auto tile = run.next()) {{ ...; tile->commit(); }}");
}

}  // namespace

std::span<const Slice> Tile::slices() const {
  if (lease_ == nullptr) return {};
  return lease_->slices;
}

void Tile::commit() {
  if (lease_ == nullptr) nothing_to_commit();
  lease_->swapper->commit(*lease_);
  lease_ = nullptr;
}

void Tile::attach(std::unique_ptr<Attachment> attachment) {
  if (lease_ == nullptr) nothing_to_commit();
  if (attachment) lease_->attachments.push_back(std::move(attachment));
}

namespace {

// A parameter's new bytes become visible with the tile.
class LeaseAttachment final : public Attachment {
 public:
  explicit LeaseAttachment(Lease lease) : lease_(std::move(lease)) {}
  void publish() noexcept override {
    try {
      lease_.commit();
    } catch (const std::exception& error) {  // in a forked child
      log::error("an attached lease was not committed: {}", error.what());
    }
  }

 private:
  Lease lease_;
};

}  // namespace

void Tile::attach(Lease lease) {
  if (lease_ == nullptr) nothing_to_commit();
  if (lease) attach(std::make_unique<LeaseAttachment>(std::move(lease)));
}

// ---- Run

Run::Run(std::shared_ptr<swap::Swapper> swapper, swap::PassState* pass)
    : swapper_(std::move(swapper)), pass_(pass) {}

Run::Run(Run&& other) noexcept
    : swapper_(std::move(other.swapper_)), pass_(std::exchange(other.pass_, nullptr)) {}

Run& Run::operator=(Run&& other) noexcept {
  if (this != &other) {
    Run old(std::move(*this));
    swapper_ = std::move(other.swapper_);
    pass_ = std::exchange(other.pass_, nullptr);
  }
  return *this;
}

Run::~Run() {
  if (pass_ == nullptr) return;
  if (swapper_->forked())
    swap::keep_for_ever(std::move(swapper_));
  else
    swapper_->close(pass_);
}

std::optional<Tile> Run::next() {
  if (pass_ == nullptr) throw_error(Errc::invalid_argument, "this run was moved from");
  return swapper_->next(*pass_);
}

std::span<const Slice> Run::upcoming() {
  if (pass_ == nullptr) throw_error(Errc::invalid_argument, "this run was moved from");
  return swapper_->upcoming(*pass_);
}

// ---- OptimizerSwapper; its constructor is the context's, which knows the house

OptimizerSwapper::OptimizerSwapper(OptimizerSwapper&&) noexcept = default;

OptimizerSwapper& OptimizerSwapper::operator=(OptimizerSwapper&& other) noexcept {
  if (this != &other) {
    OptimizerSwapper old(std::move(*this));
    swapper_ = std::move(other.swapper_);
  }
  return *this;
}

OptimizerSwapper::~OptimizerSwapper() {
  if (swapper_ == nullptr) return;
  if (swapper_->forked()) {
    swap::keep_for_ever(std::move(swapper_));
  } else if (!swapper_->quiesce()) {
    log::error(
        "an optimizer swapper was destroyed while tiles were held or the device did not answer: "
        "its memory and its files are kept until the process ends");
    swap::keep_for_ever(std::move(swapper_));
  }
}

UnitId OptimizerSwapper::add_unit(std::string name) { return swapper_->add_unit(std::move(name)); }

ParamId OptimizerSwapper::add(std::string name, std::int64_t elements,
                              const ParamOptions& options) {
  return swapper_->add(std::move(name), elements, options);
}

void OptimizerSwapper::remove(ParamId param) { swapper_->remove(param); }

void OptimizerSwapper::seal() { swapper_->seal(); }

Run OptimizerSwapper::begin(const Pass& pass) { return Run(swapper_, swapper_->begin(pass)); }

void OptimizerSwapper::step(std::int64_t step, const std::function<void(const Slice&)>& update) {
  Run run = begin_step(step);
  while (auto tile = run.next()) {
    for (const Slice& slice : tile->slices()) update(slice);
    tile->commit();
  }
}

void OptimizerSwapper::read_state(ParamId param, std::string_view state, std::int64_t offset,
                                  std::span<std::byte> to) {
  swapper_->read_state(param, state, offset, to);
}

void OptimizerSwapper::write_state(ParamId param, std::string_view state, std::int64_t offset,
                                   std::span<const std::byte> from) {
  swapper_->write_state(param, state, offset, from);
}

void OptimizerSwapper::reset(std::string_view state, double value) {
  swapper_->reset(state, value);
}

std::string_view OptimizerSwapper::name(ParamId param) const { return swapper_->param(param).name; }

std::int64_t OptimizerSwapper::elements(ParamId param) const {
  return swapper_->param(param).elements;
}

OptimizerStats OptimizerSwapper::stats() const { return swapper_->stats(); }

void OptimizerSwapper::check_dtype(std::string_view state, DType dtype) const {
  swapper_->check_dtype(state, dtype);
}

}  // namespace spillway
