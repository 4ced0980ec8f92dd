#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "compute_threads.h"
#include "model.h"
#include "pieces.h"
#include "state_hash.h"
#include "step_work.h"

namespace spillway::demo {

/// What the offloaded run is measured against: the same optimizer over plain arrays, as an engine
/// with enough memory would hold them.
///
/// The arrays come from malloc, aligned to 2 MiB; with glibc they lie in huge pages where the
/// process was started with huge_page_setting in its environment.
class InMemoryRun {
 public:
  /// `NAME=VALUE` for the environment.
  static constexpr const char* huge_page_setting = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1";

  /// [bytes] that a run over `model` takes.
  static std::int64_t bytes(const Model& model);

  /// Allocates, touches every page, makes the first masters. Throws std::bad_alloc.
  InMemoryRun(const Model& model, std::uint64_t seed, ComputeThreads& threads,
              const StepWork& work = {});

  /// Steps count from 1. Returns the seconds that it took.
  double step(std::int64_t step);
  Hashes hashes() const;

 private:
  struct Free {
    void operator()(float* array) const { std::free(array); }
  };
  using Array = std::unique_ptr<float[], Free>;

  static Array allocate(std::int64_t elements);

  const Model& model_;
  std::uint64_t seed_;
  ComputeThreads& threads_;
  StepWork work_;
  std::vector<std::int64_t> starts_;  // of tensors in the arrays
  std::vector<Piece> pieces_;
  std::array<Array, state_names.size()> states_;
};

}  // namespace spillway::demo
