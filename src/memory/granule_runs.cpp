#include "memory/granule_runs.h"

#include "base/check.h"

namespace spillway {

GranuleRuns::GranuleRuns(std::int64_t granules)
    : tokens_(new Token[static_cast<std::size_t>(granules)]),
      holders_(static_cast<std::size_t>(granules)) {
  free_.add_ordered_block(tokens_.get(), holders_.size() * sizeof(Token), sizeof(Token));
}

std::int64_t GranuleRuns::take(std::int64_t granules, std::int64_t bytes, std::string_view name) {
  void* token = free_.malloc_n(static_cast<std::size_t>(granules), sizeof(Token));
  if (token == nullptr) return -1;
  const std::int64_t first = static_cast<Token*>(token) - tokens_.get();
  holders_[static_cast<std::size_t>(first)] = {name, bytes, granules};
  return first;
}

void GranuleRuns::give(std::int64_t first) {
  Holder& holder = holders_[static_cast<std::size_t>(first)];
  SPILLWAY_CHECK(holder.granules > 0, "a run is given back twice");
  free_.ordered_free_n(&tokens_[static_cast<std::size_t>(first)],
                       static_cast<std::size_t>(holder.granules), sizeof(Token));
  holder = {};
}

}  // namespace spillway
