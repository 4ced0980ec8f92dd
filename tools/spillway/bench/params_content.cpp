#include "bench/params_content.h"

#include <algorithm>
#include <cstring>

namespace spillway::params {
namespace {

constexpr std::int64_t page_bytes = 4096;
constexpr std::size_t word_bytes = sizeof(std::uint64_t);

}  // namespace

// The finalizer of splitmix64.
std::uint64_t Content::word(std::int64_t page) const {
  std::uint64_t z = (std::uint64_t{tensor_} << 32 | version_) * 0x9E3779B97F4A7C15ULL +
                    static_cast<std::uint64_t>(page) * 0xD1B54A32D192ED03ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

void Content::fill(std::span<std::byte> bytes, std::int64_t offset) const {
  for (std::size_t at = 0; at < bytes.size(); at += page_bytes) {
    const std::uint64_t value = word((offset + static_cast<std::int64_t>(at)) / page_bytes);
    const std::size_t count = std::min<std::size_t>(page_bytes, bytes.size() - at);
    std::byte* const to = bytes.data() + at;
    for (std::size_t i = 0; i + word_bytes <= count; i += word_bytes)
      std::memcpy(to + i, &value, word_bytes);
    std::memcpy(to + count / word_bytes * word_bytes, &value, count % word_bytes);
  }
}

std::int64_t Content::first_wrong(std::span<const std::byte> bytes, Look look) const {
  for (std::int64_t page = look.first;; page += look.every) {
    const auto at = static_cast<std::size_t>(page * page_bytes);
    if (at >= bytes.size()) return -1;
    const std::uint64_t value = word(page);
    const std::size_t count = std::min<std::size_t>(page_bytes, bytes.size() - at);
    const std::size_t first = std::min(count, word_bytes);
    const std::size_t last = count < word_bytes ? 0 : (count / word_bytes - 1) * word_bytes;
    if (std::memcmp(bytes.data() + at, &value, first) != 0 ||
        std::memcmp(bytes.data() + at + last, &value, first) != 0)
      return page * page_bytes;
  }
}

}  // namespace spillway::params
