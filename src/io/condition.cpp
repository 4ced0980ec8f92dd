#include "io/condition.h"

#include "io/core.h"

namespace spillway::io {

Condition::Condition(Engine* engine) : core_(engine != nullptr ? engine->core_.get() : nullptr) {}

Condition::~Condition() {
  if (core_ != nullptr) core_->forget(*this);
}

void Condition::notify_all() noexcept {
  if (core_ == nullptr || !core_->put_off(*this)) waiters_.notify_all();
}

}  // namespace spillway::io
