#pragma once

#include <cstdint>

namespace spillway::test {

/// The C++ heap of this process, as the operators new and delete see it. A binary that links
/// heap.cpp counts every allocation, on every thread, and can be made to run out of memory.
struct Heap {
  std::int64_t allocations = 0;  ///< ever
  std::int64_t blocks = 0;       ///< alive
  std::int64_t bytes = 0;        ///< alive, as large as malloc made them
  std::int64_t peak_bytes = 0;   ///< most that were alive since restart_peak()
};
Heap heap();
void restart_peak();

/// While it lives, the `at`-th allocation from its start on (from 1), on whatever thread, throws
/// std::bad_alloc (nothrow: is null), and so do the `times - 1` that follow it. One at a time.
///
/// GoogleTest and the test itself allocate too: put only the calls under test under its life.
class FailingHeap {
 public:
  explicit FailingHeap(std::int64_t at, std::int64_t times = 1);
  ~FailingHeap();
  FailingHeap(const FailingHeap&) = delete;
  FailingHeap& operator=(const FailingHeap&) = delete;

  static std::int64_t refused();  ///< by the newest one, so far
};

}  // namespace spillway::test
