#pragma once

#include <cstdint>

namespace spillway::store {

/// Counts what this binary allocates on all threads since it was made.
class AllocationCounter {
 public:
  AllocationCounter();
  std::int64_t count() const;
  /// Sanitizers bring their own operator new and keep it.
  static bool works();

 private:
  std::int64_t before_;
};

}  // namespace spillway::store
