#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "cache/cache.h"

namespace spillway::cache {

/// A swapper that takes no time: every access is a fetch and a release, victims leave at once.
class Simulation {
 public:
  Simulation(const std::vector<std::int64_t>& elements, std::int64_t cap) : cache_(cap) {
    for (TensorId id = 0; id < elements.size(); ++id) cache_.add(id, elements[id]);
  }

  /// The share of elements that were in memory when they were fetched.
  double pass(std::string_view name, const std::vector<TensorId>& accesses) {
    cache_.begin_pass(name);
    return run(accesses);
  }
  double run(const std::vector<TensorId>& accesses) {
    std::int64_t hit = 0, all = 0;
    for (const TensorId id : accesses) {
      all += cache_.elements(id);
      if (fetch(id)) hit += cache_.elements(id);
      if (cache_.resident(id)) cache_.unpin(id);
    }
    return all == 0 ? 0.0 : static_cast<double>(hit) / static_cast<double>(all);
  }

  /// Leaves the tensor pinned if it is resident; true for a hit.
  bool fetch(TensorId id) {
    cache_.access(id);
    const bool hit = cache_.resident(id);
    if (!hit) {
      const Verdict verdict = cache_.reserve(id);
      for (const TensorId victim : verdict.victims) cache_.drop(victim);
      if (verdict.admit) {
        EXPECT_TRUE(cache_.commit(id));
      }
      EXPECT_LE(cache_.used(), cache_.cap());
    }
    if (cache_.resident(id)) cache_.pin(id);
    return hit;
  }

  Cache& cache() { return cache_; }

 private:
  Cache cache_;
};

}  // namespace spillway::cache
