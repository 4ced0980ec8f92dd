#include "store/stripe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/align.h"
#include "base/check.h"

namespace spillway::store {
namespace {

// A longer pattern would follow odd weights more closely than devices keep to them.
constexpr std::int64_t longest_pattern = 256;
// Of the rotations that a slot could get, for the sake of stores with many slots.
constexpr int most_candidates = 32;

std::vector<std::int64_t> reduced(std::span<const std::int64_t> weights) {
  std::vector<std::int64_t> parts(weights.begin(), weights.end());
  std::int64_t common = 0;
  for (const std::int64_t part : parts) {
    SPILLWAY_CHECK(part >= 1, "weights are positive");
    common = std::gcd(common, part);
  }
  SPILLWAY_CHECK(common > 0, "weights are positive");
  double sum = 0;
  for (std::int64_t& part : parts) sum += static_cast<double>(part /= common);
  const double limit =
      static_cast<double>(std::max(longest_pattern, static_cast<std::int64_t>(parts.size())));
  if (sum > limit) {
    for (std::int64_t& part : parts) {
      const double scaled = static_cast<double>(part) / sum * limit;
      part = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::llround(scaled)));
    }
  }
  return parts;
}

}  // namespace

Stripe::Stripe(std::span<const std::int64_t> weights, std::int64_t unit, std::int64_t guard)
    : unit_(unit), guard_(guard) {
  SPILLWAY_CHECK(!weights.empty() && unit > 0 && guard >= 0, "a stripe has paths and a unit");
  const std::vector<std::int64_t> parts = reduced(weights);
  const std::int64_t period = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
  std::vector<std::int64_t> credit(parts.size(), 0);
  for (std::int64_t step = 0; step < period; ++step) {
    std::size_t best = 0;
    for (std::size_t path = 0; path < parts.size(); ++path) {
      credit[path] += parts[path];
      if (credit[path] > credit[best]) best = path;
    }
    credit[best] -= period;
    pattern_.push_back(static_cast<int>(best));
  }
  units_before_.resize(parts.size());
  for (std::size_t path = 0; path < parts.size(); ++path) {
    std::vector<std::int64_t>& before = units_before_[path];
    before.push_back(0);
    for (int round = 0; round < 2; ++round) {
      for (const int owner : pattern_) {
        before.push_back(before.back() + (owner == static_cast<int>(path) ? 1 : 0));
      }
    }
  }
}

std::int64_t Stripe::units(int path, std::int64_t count, int rotation) const {
  const std::vector<std::int64_t>& before = units_before_[static_cast<std::size_t>(path)];
  const std::int64_t rounds = count / period();
  const std::int64_t rest = count % period();
  return rounds * before[pattern_.size()] + before[static_cast<std::size_t>(rotation + rest)] -
         before[static_cast<std::size_t>(rotation)];
}

int Stripe::next_rotation(std::span<const std::int64_t> loads, std::int64_t bytes, int from) const {
  // sum(load^2 / weight) is least where loads are as weights, for a given sum of loads.
  int best = 0;
  double least = 0;
  const int candidates = std::min(period(), most_candidates);
  for (int step = 0; step < candidates; ++step) {
    const int rotation = (from + step) % period();
    double unevenness = 0;
    for (std::size_t path = 0; path < loads.size(); ++path) {
      const auto load =
          static_cast<double>(loads[path] + share(static_cast<int>(path), bytes, rotation));
      unevenness += load * load / static_cast<double>(units_before_[path][pattern_.size()]);
    }
    if (step > 0 && unevenness >= least) continue;
    best = rotation;
    least = unevenness;
  }
  return best;
}

std::int64_t Stripe::units_of(int path, std::int64_t bytes, int rotation) const {
  const std::int64_t whole = bytes / unit_;
  const std::int64_t tail = bytes % unit_;
  std::int64_t total = units(path, whole, rotation) * unit_;
  if (tail > 0 && path_of(whole, rotation) == path) total += tail;
  return total;
}

// A slot may be longer than the section in it, which then ends on another path: every path that
// can hold units has room for a guard.
std::int64_t Stripe::share(int path, std::int64_t bytes, int rotation) const {
  const std::int64_t units = units_of(path, bytes, rotation);
  return units > 0 && guards(bytes) > 0 ? units + guard_ : units;
}

std::int64_t Stripe::max_runs(std::int64_t bytes) const {
  return paths() == 1 ? 1 : divide_up(bytes, unit_) + guards(bytes);
}

std::int64_t Stripe::guards(std::int64_t bytes) const {
  if (guard_ == 0) return 0;
  return std::min<std::int64_t>(paths(), divide_up(bytes, unit_)) - 1;
}

}  // namespace spillway::store
