#include "store/allocation_counter.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SPILLWAY_COUNTS_ALLOCATIONS 1
#else
#define SPILLWAY_COUNTS_ALLOCATIONS 0
#endif

namespace {
std::atomic<std::int64_t> allocations{0};
}  // namespace

#if SPILLWAY_COUNTS_ALLOCATIONS
void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const at = std::malloc(bytes)) return at;
  throw std::bad_alloc();
}
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t) noexcept { std::free(at); }
#endif

namespace spillway::store {

AllocationCounter::AllocationCounter() : before_(allocations.load()) {}

std::int64_t AllocationCounter::count() const { return allocations.load() - before_; }

bool AllocationCounter::works() { return SPILLWAY_COUNTS_ALLOCATIONS != 0; }

}  // namespace spillway::store
