#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench/params_options.h"
#include "model.h"

namespace spillway::params {

/// What an engine fetches at once: a layer, an embedding, one expert of a layer.
struct Unit {
  std::string name;
  std::vector<std::uint32_t> tensors;  ///< in Workload::tensors, next to each other
  std::int64_t elements = 0;
  int layer = -1, expert = -1;  ///< -1: none
};

/// A model's tensors, unit by unit.
struct Workload {
  std::vector<demo::Tensor> tensors;
  std::vector<Unit> units;
  std::vector<std::int64_t> elements;  ///< by tensor
  std::int64_t total = 0;
  int experts = 0;         ///< of each layer
  bool tied_head = false;  ///< the head is the first unit again
};

Workload make_workload(const demo::Model& model);

/// One pass: units to be read, one after another, then units to be overwritten by the step.
struct Pass {
  std::vector<std::uint32_t> fetches, updates;
};

/// forward-backward: all units, then all of them backwards. cyclic: all units. moe: forward and
/// backward with a random 2 of each layer's experts; of a model without experts, a random half of
/// its layers. Every unit that was used is then overwritten, as an optimizer's 16-bit copy-out is.
Pass build_pass(Trace trace, const Workload& workload, std::mt19937_64& random);

/// The same in tensors, as cache policies see it.
std::vector<std::uint32_t> accesses(const Workload& workload, const Pass& pass);

/// The most elements of two units in a row: one in use, the next on its way.
std::int64_t widest_pair(const Workload& workload, const Pass& pass);

}  // namespace spillway::params
