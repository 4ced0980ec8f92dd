#include "store/size_class.h"

#include <algorithm>
#include <vector>

namespace spillway::store {

std::map<std::int64_t, std::int64_t> choose_slot_sizes(std::span<const FootprintDemand> demands,
                                                       const std::set<std::int64_t>& existing,
                                                       std::int64_t writable) {
  std::set<std::int64_t> sizes = existing;
  // Largest first, so that the smaller ones find a size to share.
  std::vector<FootprintDemand> order(demands.begin(), demands.end());
  std::sort(order.begin(), order.end(), [](const FootprintDemand& a, const FootprintDemand& b) {
    return a.footprint > b.footprint;
  });

  std::map<std::int64_t, std::int64_t> chosen;
  for (const FootprintDemand& demand : order) {
    const auto at_least = sizes.lower_bound(demand.footprint);
    if (at_least != sizes.end()) {
      const std::int64_t padding = *at_least - demand.footprint;
      // padding * tiles <= footprint * min(tiles, writable), without the products.
      const bool cheap =
          padding <= demand.footprint / 8 &&
          (demand.tiles <= writable ||
           static_cast<double>(padding) * static_cast<double>(demand.tiles) <=
               static_cast<double>(demand.footprint) * static_cast<double>(writable));
      if (cheap) {
        chosen[demand.footprint] = *at_least;
        continue;
      }
    }
    sizes.insert(demand.footprint);
    chosen[demand.footprint] = demand.footprint;
  }
  return chosen;
}

}  // namespace spillway::store
