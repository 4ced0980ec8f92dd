// In a file of its own, so that the compiler cannot see both ends of an allocation.
#include "support/heap/heap.h"

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

constexpr auto relaxed = std::memory_order_relaxed;

std::atomic<std::int64_t> allocations{0}, blocks{0}, bytes{0}, peak{0};
// Allocations until those that fail, and how many do. No failing heap: far away.
constexpr std::int64_t never = INT64_MAX / 2;
std::atomic<std::int64_t> countdown{never}, failures{0}, refusals{0};

bool refuse() {
  if (countdown.load(relaxed) >= never / 2) return false;
  const std::int64_t left = countdown.fetch_sub(1, relaxed) - 1;
  if (left > 0 || left <= -failures.load(relaxed)) return false;
  refusals.fetch_add(1, relaxed);
  return true;
}

void* counted(std::size_t size, std::size_t alignment) noexcept {
  allocations.fetch_add(1, relaxed);
  if (refuse()) return nullptr;
  size = std::max<std::size_t>(size, 1);
  void* const at =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(size)
          : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (at == nullptr) return nullptr;
  blocks.fetch_add(1, relaxed);
  const auto usable = static_cast<std::int64_t>(::malloc_usable_size(at));
  const std::int64_t now = bytes.fetch_add(usable, relaxed) + usable;
  std::int64_t most = peak.load(relaxed);
  while (now > most && !peak.compare_exchange_weak(most, now, relaxed)) {
  }
  return at;
}

void* counted_or_throw(std::size_t size, std::size_t alignment) {
  void* const at = counted(size, alignment);
  if (at == nullptr) throw std::bad_alloc();
  return at;
}

void give_back(void* at) noexcept {
  if (at == nullptr) return;
  blocks.fetch_sub(1, relaxed);
  bytes.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(at)), relaxed);
  std::free(at);
}

std::size_t of(std::align_val_t alignment) { return static_cast<std::size_t>(alignment); }

}  // namespace

namespace spillway::test {

Heap heap() {
  return {allocations.load(relaxed), blocks.load(relaxed), bytes.load(relaxed), peak.load(relaxed)};
}
void restart_peak() { peak.store(bytes.load(relaxed), relaxed); }

FailingHeap::FailingHeap(std::int64_t at, std::int64_t times) {
  refusals.store(0, relaxed);
  failures.store(times, relaxed);
  countdown.store(at, relaxed);
}
FailingHeap::~FailingHeap() { countdown.store(never, relaxed); }
std::int64_t FailingHeap::refused() { return refusals.load(relaxed); }

}  // namespace spillway::test

void* operator new(std::size_t size) { return counted_or_throw(size, 1); }
void* operator new[](std::size_t size) { return counted_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_or_throw(size, of(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return counted_or_throw(size, of(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return counted(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(size, of(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(size, of(alignment));
}
void operator delete(void* at) noexcept { give_back(at); }
void operator delete[](void* at) noexcept { give_back(at); }
void operator delete(void* at, const std::nothrow_t&) noexcept { give_back(at); }
void operator delete[](void* at, const std::nothrow_t&) noexcept { give_back(at); }
void operator delete(void* at, std::size_t) noexcept { give_back(at); }
void operator delete[](void* at, std::size_t) noexcept { give_back(at); }
void operator delete(void* at, std::align_val_t) noexcept { give_back(at); }
void operator delete[](void* at, std::align_val_t) noexcept { give_back(at); }
void operator delete(void* at, std::size_t, std::align_val_t) noexcept { give_back(at); }
void operator delete[](void* at, std::size_t, std::align_val_t) noexcept { give_back(at); }
