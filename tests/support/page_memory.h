#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <span>

#include "base/align.h"

namespace spillway {

/// Page-aligned heap memory that nobody has touched yet: addresses cost nothing.
class PageMemory {
 public:
  explicit PageMemory(std::int64_t bytes)
      : bytes_(bytes),
        at_(static_cast<std::byte*>(
            std::aligned_alloc(static_cast<std::size_t>(page_bytes),
                               static_cast<std::size_t>(align_up(bytes, page_bytes))))) {
    if (at_ == nullptr) throw std::bad_alloc();
  }
  ~PageMemory() { std::free(at_); }
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;

  std::byte* data() const { return at_; }
  std::int64_t bytes() const { return bytes_; }
  std::span<std::byte> span() const { return {at_, static_cast<std::size_t>(bytes_)}; }

 private:
  std::int64_t bytes_;
  std::byte* at_;
};

}  // namespace spillway
