#include "context/page_fill.h"

#include <array>
#include <cstring>

#include "base/align.h"

namespace spillway {
namespace {

constexpr std::size_t page_words = static_cast<std::size_t>(page_bytes) / sizeof(std::uint64_t);
using Page = std::array<std::uint64_t, page_words>;

// The finalizer of splitmix64: every word of a page in its own right, so that loops over it are
// vectorised.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

Page page_after(std::uint64_t first, LoadFill fill) {
  Page page;
  page[0] = first;
  for (std::size_t i = 1; i < page.size(); ++i)
    page[i] = fill == LoadFill::words ? first : mix(first + i);
  return page;
}

}  // namespace

void fill_pages(std::span<std::byte> memory, LoadFill fill, std::uint64_t seed) {
  constexpr auto bytes = static_cast<std::size_t>(page_bytes);
  for (std::size_t n = 0; (n + 1) * bytes <= memory.size(); ++n) {
    const std::uint64_t number = n + 1;
    // Never 0: that is what unwritten space reads as.
    const Page page =
        page_after(fill == LoadFill::words ? number : mix(seed + (number << 32)) | 1, fill);
    std::memcpy(memory.data() + n * bytes, page.data(), bytes);
  }
}

bool whole_page(std::span<const std::byte> page, LoadFill fill) {
  if (page.size() != static_cast<std::size_t>(page_bytes)) return false;
  std::uint64_t first = 0;
  std::memcpy(&first, page.data(), sizeof first);
  if (first == 0) return false;
  const Page expected = page_after(first, fill);
  return std::memcmp(page.data(), expected.data(), page.size()) == 0;
}

}  // namespace spillway
