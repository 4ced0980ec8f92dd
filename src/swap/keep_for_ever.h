#pragma once

#include <memory>

namespace spillway::swap {

/// Keeps what may not be destroyed here: another process's threads and locks are not ours, and a
/// device that never answered may still write into our memory. In a list, so that leak checkers
/// see that it is meant; without a lock, which a fork could have caught half way.
void keep_for_ever(std::shared_ptr<void> object) noexcept;

}  // namespace spillway::swap
