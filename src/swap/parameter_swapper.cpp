#include "spillway/parameter_swapper.h"

#include "base/throw.h"
#include "swap/keep_for_ever.h"
#include "swap/parameters.h"
#include "sys/cuda_driver.h"

namespace spillway {

// ---- View

void View::check(DType wanted, bool mutate) const {
  if (dtype != wanted)
    throw_error(Errc::invalid_argument, "parameter {} is {}, not {}",
                static_cast<std::uint32_t>(param), to_string(dtype), to_string(wanted));
  if (mutate && (hold_ == nullptr || hold_->access == Access::read))
    throw_error(Errc::invalid_argument,
                "parameter {} is leased for reading: take it as const, or fetch it with "
                "Access::update or overwrite",
                static_cast<std::uint32_t>(param));
}

std::span<std::byte> View::raw_mutable() const {
  check(dtype, true);
  return {data_, static_cast<std::size_t>(bytes())};
}

// ---- Lease

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    Lease old(std::move(*this));
    hold_ = std::exchange(other.hold_, nullptr);
  }
  return *this;
}

Lease::~Lease() {
  swap::Hold* const hold = std::exchange(hold_, nullptr);
  if (hold != nullptr && !hold->owner->forked()) hold->owner->release(*hold);
}

std::span<const View> Lease::tensors() const {
  if (hold_ == nullptr) return {};
  return hold_->views;
}

const View& Lease::only() const {
  if (hold_ == nullptr)
    throw_error(Errc::invalid_argument, "this lease was committed, released, or moved from");
  if (hold_->views.size() != 1)
    throw_error(Errc::invalid_argument,
                "this lease has {} parameters: as() is for one, tensors() gives them all",
                hold_->views.size());
  return hold_->views.front();
}

void Lease::commit() {
  if (hold_ == nullptr)
    throw_error(Errc::invalid_argument,
                "this lease was committed or released already, or moved from");
  hold_->owner->commit(*hold_);
  hold_ = nullptr;
}

void Lease::release_after(Fence fence) && {
  if (hold_ == nullptr)
    throw_error(Errc::invalid_argument,
                "this lease was committed or released already, or moved from");
  if (hold_->access != Access::read)
    throw_error(Errc::invalid_argument,
                "release_after() is for leases that read: what was changed becomes visible by "
                "commit(), and nobody else may still be changing it then");
  if (!fence) throw_error(Errc::invalid_argument, "release_after() needs a fence");
  hold_->owner->release_after(*hold_, std::move(fence));
  hold_ = nullptr;
}

void Lease::release_after(CudaStream stream) && {
  std::string reason;
  std::shared_ptr<sys::CudaEvent> event = sys::cuda_driver().record(stream.stream, reason);
  if (event == nullptr) throw_error(Errc::unsupported, "release_after(CudaStream): {}", reason);
  std::move(*this).release_after([event] { return event->done(); });
}

// ---- ReadInto

ReadInto& ReadInto::operator=(ReadInto&& other) noexcept {
  if (this != &other) {
    ReadInto old(std::move(*this));
    intake_ = std::exchange(other.intake_, nullptr);
  }
  return *this;
}

ReadInto::~ReadInto() {
  swap::Intake* const intake = std::exchange(intake_, nullptr);
  if (intake != nullptr && !intake->owner->forked()) intake->owner->end(intake);
}

bool ReadInto::ready() const {
  if (intake_ == nullptr) throw_error(Errc::invalid_argument, "this read was moved from");
  return intake_->owner->ready(*intake_);
}

void ReadInto::wait() {
  if (intake_ == nullptr) throw_error(Errc::invalid_argument, "this read was moved from");
  intake_->owner->wait(*intake_);
}

// ---- ParameterSwapper; its constructor is the context's, which knows the house

ParameterSwapper::ParameterSwapper(ParameterSwapper&&) noexcept = default;

ParameterSwapper& ParameterSwapper::operator=(ParameterSwapper&& other) noexcept {
  if (this != &other) {
    ParameterSwapper old(std::move(*this));
    parameters_ = std::move(other.parameters_);
  }
  return *this;
}

ParameterSwapper::~ParameterSwapper() {
  if (parameters_ == nullptr) return;
  if (parameters_->forked() || !parameters_->quiesce()) swap::keep_for_ever(std::move(parameters_));
}

UnitId ParameterSwapper::add_unit(std::string name) {
  return parameters_->add_unit(std::move(name));
}

ParamId ParameterSwapper::add(std::string name, std::int64_t elements, DType dtype,
                              const TensorOptions& options) {
  return parameters_->add(std::move(name), elements, dtype, options);
}

void ParameterSwapper::remove(ParamId param) { parameters_->remove(param); }
void ParameterSwapper::seal() { parameters_->seal(); }

Lease ParameterSwapper::fetch(ParamId param, Access access, Range range) {
  return parameters_->fetch(param, access, range);
}

Lease ParameterSwapper::fetch(UnitId unit, Access access) {
  return parameters_->fetch(unit, access);
}

std::optional<Lease> ParameterSwapper::try_fetch(UnitId unit) {
  return parameters_->try_fetch(unit);
}

std::optional<Lease> ParameterSwapper::try_fetch(ParamId param, Range range) {
  return parameters_->try_fetch(param, range);
}

int ParameterSwapper::prefetch(std::span<const UnitId> units) {
  return parameters_->prefetch(units);
}

int ParameterSwapper::prefetch(ParamId param, Range range) {
  return parameters_->prefetch(param, range);
}

Residence ParameterSwapper::where(ParamId param) const { return parameters_->where(param); }

void ParameterSwapper::begin_pass(std::string_view name) { parameters_->begin_pass(name); }

ReadInto ParameterSwapper::read_into(ParamId param, std::span<std::byte> to, Range range) {
  return parameters_->read_into(param, to, range);
}

void ParameterSwapper::flush() { parameters_->flush(); }

std::string_view ParameterSwapper::name(ParamId param) const { return parameters_->name(param); }

std::int64_t ParameterSwapper::elements(ParamId param) const {
  return parameters_->elements(param);
}

ParameterStats ParameterSwapper::stats() const { return parameters_->stats(); }

void ParameterSwapper::check_dtype(ParamId param, DType dtype) const {
  parameters_->check_dtype(param, dtype);
}

}  // namespace spillway
