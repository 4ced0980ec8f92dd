#include "swap/keep_for_ever.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace spillway::swap {

void keep_for_ever(std::shared_ptr<void> object) noexcept {
  struct Kept {
    std::shared_ptr<void> object;
    Kept* next = nullptr;
  };
  static std::atomic<Kept*> kept{nullptr};
  Kept* const one = new (std::nothrow) Kept{std::move(object)};
  if (one == nullptr) std::abort();
  one->next = kept.load(std::memory_order_relaxed);
  while (!kept.compare_exchange_weak(one->next, one, std::memory_order_release)) {
  }
}

}  // namespace spillway::swap
