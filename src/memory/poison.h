#pragma once

#include <cstddef>
#include <cstdint>

// Bytes that nobody may touch are marked for AddressSanitizer, which sees no malloc and no free in
// a pool: a store after release, or past the asked length, is then reported where it happens.
// Without it these are nothing.
#if defined(__SANITIZE_ADDRESS__)
#define SPILLWAY_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPILLWAY_ASAN 1
#endif
#endif

#ifdef SPILLWAY_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace spillway {

inline void poison([[maybe_unused]] std::byte* at, [[maybe_unused]] std::int64_t bytes) {
#ifdef SPILLWAY_ASAN
  __asan_poison_memory_region(at, static_cast<std::size_t>(bytes));
#endif
}

inline void unpoison([[maybe_unused]] std::byte* at, [[maybe_unused]] std::int64_t bytes) {
#ifdef SPILLWAY_ASAN
  __asan_unpoison_memory_region(at, static_cast<std::size_t>(bytes));
#endif
}

}  // namespace spillway
