#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace spillway::params {

/// Pages of a tensor: number `first`, and every so many behind it.
struct Look {
  std::int64_t first = 0, every = 1;
};

/// What stands in a tensor: each 4 KiB page of it repeats one 8-byte word, made of the tensor, how
/// often it was overwritten, and the page. So that bytes of another tensor, page or pass are seen,
/// for the price of touching each page.
class Content {
 public:
  Content(std::uint32_t tensor, std::uint32_t version) : tensor_(tensor), version_(version) {}

  /// `bytes` are those from byte `offset` (a multiple of 4096) of the tensor on.
  void fill(std::span<std::byte> bytes, std::int64_t offset) const;
  /// Compares the first and the last word of the pages looked at; the offset in the tensor of the
  /// first of them that is wrong, or -1. `bytes` are all of the tensor's.
  std::int64_t first_wrong(std::span<const std::byte> bytes, Look look) const;

 private:
  std::uint64_t word(std::int64_t page) const;
  std::uint32_t tensor_, version_;
};

}  // namespace spillway::params
