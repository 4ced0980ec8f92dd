#pragma once

#include <boost/pool/simple_segregated_storage.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace spillway {

/// Who has which granules: Boost's ordered free list over a shadow array with one 16-byte token per
/// granule (token index = granule index).
///
/// A list inside the memory itself would write a pointer into every free granule, fault in all of
/// it at once, and break on one late store by a device. Order is kept throughout, so runs that
/// become free side by side are one run again.
///
/// Takes and gives are O(free granules) at worst. Not thread-safe: the pool has the lock.
class GranuleRuns {
 public:
  struct Holder {
    std::string_view name;
    std::int64_t bytes = 0;     ///< as asked for
    std::int64_t granules = 0;  ///< 0: no run starts here
  };

  explicit GranuleRuns(std::int64_t granules);

  /// The first granule of the lowest free run of `granules` (> 0), or -1.
  std::int64_t take(std::int64_t granules, std::int64_t bytes, std::string_view name);
  void give(std::int64_t first);

  std::int64_t granules() const { return static_cast<std::int64_t>(holders_.size()); }
  const Holder& holder(std::int64_t first) const {
    return holders_[static_cast<std::size_t>(first)];
  }
  /// Calls `held(first, holder)` for every run in use and `free(first, granules)` for every run
  /// between, in order.
  template <typename Held, typename Free>
  void visit(Held&& held, Free&& free) const {
    std::int64_t free_from = 0;
    for (std::int64_t i = 0; i < granules();) {
      const Holder& here = holder(i);
      if (here.granules == 0) {
        ++i;
        continue;
      }
      if (free_from < i) free(free_from, i - free_from);
      held(i, here);
      i += here.granules;
      free_from = i;
    }
    if (free_from < granules()) free(free_from, granules() - free_from);
  }

 private:
  struct alignas(16) Token {
    std::byte link[16];
  };
  std::unique_ptr<Token[]> tokens_;
  boost::simple_segregated_storage<std::size_t> free_;
  std::vector<Holder> holders_;  // by first granule
};

}  // namespace spillway
