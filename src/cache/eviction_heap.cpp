#include "cache/eviction_heap.h"

#include <algorithm>

#include "base/check.h"

namespace spillway::cache {

void EvictionHeap::push(TensorId id, Priority priority) {
  if (id >= places_.size()) places_.resize(std::size_t{id} + 1, nowhere);
  SPILLWAY_CHECK(places_[id] == nowhere, "a tensor stands in the heap once");
  ids_.push_back(id);
  priorities_.push_back(priority);
  places_[id] = static_cast<std::uint32_t>(ids_.size() - 1);
  rise(ids_.size() - 1);
}

void EvictionHeap::erase(TensorId id) {
  SPILLWAY_CHECK(contains(id), "the tensor is not in the heap");
  const std::size_t place = places_[id];
  places_[id] = nowhere;
  const TensorId last = ids_.back();
  const Priority priority = priorities_.back();
  ids_.pop_back();
  priorities_.pop_back();
  if (place == ids_.size()) return;
  put(place, last, priority);
  rise(place);
  sink(places_[last]);
}

void EvictionHeap::change(TensorId id, Priority priority) {
  SPILLWAY_CHECK(contains(id), "the tensor is not in the heap");
  const std::size_t place = places_[id];
  const bool up = priority > priorities_[place];
  priorities_[place] = priority;
  if (up) {
    rise(place);
  } else {
    sink(place);
  }
}

void EvictionHeap::put(std::size_t place, TensorId id, Priority priority) {
  ids_[place] = id;
  priorities_[place] = priority;
  places_[id] = static_cast<std::uint32_t>(place);
}

void EvictionHeap::rise(std::size_t place) {
  const TensorId id = ids_[place];
  const Priority priority = priorities_[place];
  while (place > 0) {
    const std::size_t parent = (place - 1) / 4;
    if (priorities_[parent] >= priority) break;
    put(place, ids_[parent], priorities_[parent]);
    place = parent;
  }
  put(place, id, priority);
}

void EvictionHeap::sink(std::size_t place) {
  const TensorId id = ids_[place];
  const Priority priority = priorities_[place];
  for (;;) {
    const std::size_t first = place * 4 + 1, end = std::min(first + 4, ids_.size());
    if (first >= end) break;
    std::size_t largest = first;
    for (std::size_t child = first + 1; child < end; ++child)
      if (priorities_[child] > priorities_[largest]) largest = child;
    if (priorities_[largest] <= priority) break;
    put(place, ids_[largest], priorities_[largest]);
    place = largest;
  }
  put(place, id, priority);
}

}  // namespace spillway::cache
