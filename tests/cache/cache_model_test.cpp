// Random use of the cache, several reservations open at once, against a model that searches.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "cache/cache.h"

namespace spillway::cache {
namespace {

struct Model {
  struct Tensor {
    std::int64_t elements = 0;
    bool keep = false, resident = false;
    int pins = 0;
    std::uint64_t last_access = 0;
  };
  struct Reservation {
    std::set<TensorId> victims;
    bool stands = true;
  };
  std::map<TensorId, Tensor> tensors;
  std::map<TensorId, Reservation> reservations;

  std::int64_t used() const {
    std::int64_t sum = 0;
    for (const auto& [id, tensor] : tensors) sum += tensor.resident ? tensor.elements : 0;
    return sum;
  }
  bool leaving(TensorId id) const {
    return std::ranges::any_of(reservations, [&](const auto& each) {
      return each.second.stands && each.second.victims.contains(id);
    });
  }
  // What reservations will take of the free room: all that their victims do not cover.
  std::int64_t claimed() const {
    std::int64_t sum = 0;
    for (const auto& [id, reservation] : reservations) {
      if (!reservation.stands) continue;
      std::int64_t need = tensors.at(id).elements;
      for (const TensorId victim : reservation.victims) need -= tensors.at(victim).elements;
      sum += std::max<std::int64_t>(0, need);
    }
    return sum;
  }
};

class CacheModelTest : public testing::TestWithParam<std::int64_t> {
 protected:
  static constexpr TensorId ids = 40;

  void SetUp() override {
    for (TensorId id = 0; id < ids; ++id) add(id);
    for (TensorId id = 0; id < ids; ++id) order.push_back(id);
    for (TensorId id = ids; id-- > 0;) order.push_back(id);
  }

  std::uint64_t below(std::uint64_t n) { return random() % n; }

  void add(TensorId id) {
    const Model::Tensor tensor{
        .elements = static_cast<std::int64_t>(below(4) == 0 ? below(40) : below(8)),
        .keep = below(20) == 0};
    model.tensors[id] = tensor;
    cache.add(id, tensor.elements, tensor.keep);
  }

  // The next access of the loop, or now and then any.
  TensorId next() {
    if (at >= order.size() || below(300) == 0) {
      if (at == order.size() && below(8) == 0) std::shuffle(order.begin(), order.end(), random);
      cache.begin_pass(below(6) == 0 ? "eval" : "train");
      at = 0;
    }
    if (below(40) == 0) ++at;
    if (below(40) == 0 || at >= order.size()) return static_cast<TensorId>(below(ids));
    return order[at++];
  }

  // Greater: evicted sooner.
  std::uint64_t priority(TensorId id) const {
    return cache.forecast().known() ? cache.forecast().next_use(id)
                                    : ~model.tensors.at(id).last_access;
  }

  void expect_right(TensorId id, Time after, const Verdict& verdict) {
    const Model::Tensor& tensor = model.tensors.at(id);
    const Time own = cache.forecast().next_use(id, after);
    const bool any = tensor.keep || !cache.forecast().known();
    const std::int64_t free = GetParam() - model.used() - model.claimed();
    // All whom it may displace: is there room enough among them?
    std::vector<TensorId> allowed;
    for (const auto& [each, other] : model.tensors)
      if (other.resident && other.pins == 0 && !other.keep && !model.leaving(each) &&
          (any || priority(each) > own))
        allowed.push_back(each);
    std::int64_t room = free;
    for (const TensorId each : allowed) room += model.tensors.at(each).elements;
    ASSERT_EQ(verdict.admit, tensor.elements <= std::max(free, room)) << id;
    if (cache.forecast().known()) ++(verdict.admit ? admitted : refused);
    if (!verdict.admit) {
      ASSERT_TRUE(verdict.victims.empty());
      return;
    }
    // Those that were taken: allowed, enough, none too many, the furthest as far as they help.
    std::int64_t freed = free;
    for (const TensorId victim : verdict.victims) {
      ASSERT_TRUE(std::ranges::find(allowed, victim) != allowed.end()) << victim;
      freed += model.tensors.at(victim).elements;
    }
    ASSERT_GE(freed, tensor.elements);
    for (const TensorId victim : verdict.victims)
      ASSERT_LT(freed - model.tensors.at(victim).elements, tensor.elements)
          << "needless " << victim;
    if (verdict.victims.empty()) return;
    std::uint64_t nearest = never;
    for (const TensorId victim : verdict.victims) nearest = std::min(nearest, priority(victim));
    std::int64_t before = free;  // room by those further than the nearest victim alone
    for (const TensorId each : allowed)
      if (priority(each) > nearest) before += model.tensors.at(each).elements;
    ASSERT_LT(before, tensor.elements) << "one further ahead would have served";
  }

  void reserve(TensorId id) {
    Time after = 0;
    Verdict verdict;
    if (const auto use = cache.next_missing(0); use && use->id == id && below(2) == 0) {
      after = use->when + 1;
      verdict = cache.reserve_ahead(id, use->when);
      ++ahead;
    } else {
      verdict = cache.reserve(id);
    }
    ASSERT_NO_FATAL_FAILURE(expect_right(id, after, verdict));
    if (verdict.admit)
      model.reservations[id].victims.insert(verdict.victims.begin(), verdict.victims.end());
  }

  void drop(TensorId id) {
    cache.drop(id);
    model.tensors[id].resident = false;
    for (auto& [each, reservation] : model.reservations) reservation.victims.erase(id);
  }

  void finish(TensorId id) {
    Model::Reservation& reservation = model.reservations.at(id);
    ASSERT_EQ(cache.promised(id), reservation.stands);
    if (below(8) == 0) {
      cache.cancel(id);
    } else {
      if (reservation.stands)
        for (const TensorId victim : std::set(reservation.victims)) drop(victim);
      ASSERT_EQ(cache.commit(id), reservation.stands);
      model.tensors[id].resident = reservation.stands;
      if (reservation.stands) model.tensors[id].last_access = accesses;
    }
    model.reservations.erase(id);
  }

  void pin(TensorId id) {
    cache.pin(id);
    for (auto& [each, reservation] : model.reservations)
      if (reservation.victims.contains(id) && std::exchange(reservation.stands, false)) ++ended;
    ++model.tensors[id].pins;
  }

  void step() {
    const TensorId any = static_cast<TensorId>(below(ids));
    Model::Tensor& tensor = model.tensors.at(any);
    switch (below(12)) {
      default: {
        const TensorId id = next();
        cache.access(id);
        model.tensors[id].last_access = ++accesses;
        if (model.tensors[id].resident) {
          if (below(2) == 0) pin(id);
        } else if (!model.reservations.contains(id)) {
          ASSERT_NO_FATAL_FAILURE(reserve(id));
        }
        break;
      }
      case 8:
      case 9:
        if (!model.reservations.empty()) finish(model.reservations.begin()->first);
        break;
      case 10:
        for (auto& [id, each] : model.tensors)
          if (each.pins > 0 && below(2) == 0) {
            cache.unpin(id);
            --each.pins;
          }
        break;
      case 11:
        if (tensor.pins > 0 || model.reservations.contains(any) || below(4) > 0) break;
        if (tensor.resident && below(2) == 0) {
          drop(any);
        } else {
          for (auto& [each, reservation] : model.reservations) reservation.victims.erase(any);
          cache.remove(any);
          add(any);
        }
    }
  }

  void expect_same() {
    ASSERT_EQ(cache.used(), model.used());
    ASSERT_LE(cache.used(), GetParam());
    for (const auto& [id, tensor] : model.tensors) {
      ASSERT_EQ(cache.resident(id), tensor.resident) << id;
      ASSERT_EQ(cache.pinned(id), tensor.pins > 0) << id;
    }
    std::optional<Use> missing;
    for (Time from = 0; (missing = cache.forecast().predicted(from)); from = missing->when + 1)
      if (!model.tensors.at(missing->id).resident && !model.reservations.contains(missing->id))
        break;
    const auto found = cache.next_missing(0);
    ASSERT_EQ(found.has_value(), missing.has_value());
    if (found) {
      ASSERT_EQ(found->when, missing->when);
      ASSERT_EQ(found->id, missing->id);
    }
  }

  bool tried_all() const { return admitted > 20 && refused > 20 && ahead > 5 && ended > 2; }

  const unsigned seed = std::random_device{}();
  std::mt19937 random{seed};
  Cache cache{GetParam()};
  Model model;
  std::vector<TensorId> order;
  std::size_t at = 0;
  std::uint64_t accesses = 0;
  int admitted = 0, refused = 0, ahead = 0, ended = 0;  // how often each was tried
};

TEST_P(CacheModelTest, AgreesWithASearch) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const bool mixed = GetParam() == 30 || GetParam() == 100;
  for (int i = 0; i < 20000 || (mixed && i < 200'000 && !tried_all()); ++i) {
    SCOPED_TRACE(testing::Message() << "step " << i);
    ASSERT_NO_FATAL_FAILURE(step());
    ASSERT_NO_FATAL_FAILURE(expect_same());
  }
  if (mixed) {
    EXPECT_TRUE(tried_all()) << admitted << ", " << refused << ", " << ahead << ", " << ended;
  }
}

INSTANTIATE_TEST_SUITE_P(Caps, CacheModelTest, testing::Values(0, 5, 30, 100, 400));

}  // namespace
}  // namespace spillway::cache
