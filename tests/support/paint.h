#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace spillway {

/// Bytes that differ from place to place and from seed to seed.
inline void paint(std::byte* at, std::int64_t bytes, std::uint64_t seed) {
  std::uint64_t word = seed * 0x9e3779b97f4a7c15ull + 1;
  for (std::int64_t i = 0; i + 8 <= bytes; i += 8) {
    word = word * 6364136223846793005ull + 1442695040888963407ull;
    std::memcpy(at + i, &word, 8);
  }
}

}  // namespace spillway
