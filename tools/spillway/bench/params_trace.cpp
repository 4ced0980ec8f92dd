#include "bench/params_trace.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

namespace spillway::params {
namespace {

// The number behind `word` in a dotted name, and where it ends; -1 where there is none.
int number_after(std::string_view name, std::string_view word, std::size_t& end) {
  const std::size_t at = name.find(word);
  if (at == std::string_view::npos || (at != 0 && name[at - 1] != '.')) return -1;
  int number = -1;
  const char* const digits = name.data() + at + word.size();
  const auto [stop, error] = std::from_chars(digits, name.data() + name.size(), number);
  if (error != std::errc()) return -1;
  end = static_cast<std::size_t>(stop - name.data());
  return number;
}

// "model.layers.3.self_attn.q_proj.weight" belongs to "model.layers.3", an expert's matrices to
// the expert, a weight and its bias together, everything else to itself.
Unit unit_of(const std::string& name) {
  Unit unit;
  std::size_t end = name.rfind('.');
  for (const std::string_view word : {"layers.", "layer.", "h."})
    if (unit.layer < 0) unit.layer = number_after(name, word, end);
  if (unit.layer >= 0) unit.expert = number_after(name, "experts.", end);
  unit.name = name.substr(0, end);
  return unit;
}

std::vector<std::uint32_t> chosen_experts(int experts, int count, std::mt19937_64& random) {
  std::vector<std::uint32_t> all;
  for (int e = 0; e < experts; ++e) all.push_back(static_cast<std::uint32_t>(e));
  std::ranges::shuffle(all, random);
  all.resize(static_cast<std::size_t>(std::min(count, experts)));
  return all;
}

// The units that a mixture's pass uses, in order.
std::vector<std::uint32_t> random_units(const Workload& workload, std::mt19937_64& random) {
  constexpr int active_experts = 2;
  std::map<int, std::vector<std::uint32_t>> experts_of;  // by layer
  std::vector<std::uint32_t> units;
  for (std::uint32_t u = 0; u < workload.units.size(); ++u) {
    const Unit& unit = workload.units[u];
    if (unit.layer < 0) {
      units.push_back(u);
    } else if (workload.experts == 0) {
      if (random() % 2 == 0) units.push_back(u);
    } else if (unit.expert < 0) {
      experts_of[unit.layer] = chosen_experts(workload.experts, active_experts, random);
      units.push_back(u);
    } else if (std::ranges::count(experts_of[unit.layer], static_cast<std::uint32_t>(unit.expert)) >
               0) {
      units.push_back(u);
    }
  }
  return units;
}

}  // namespace

Workload make_workload(const demo::Model& model) {
  Workload workload;
  std::map<std::string, std::size_t> known;
  std::vector<std::vector<std::size_t>> members;
  bool head = false;
  for (std::size_t t = 0; t < model.tensors.size(); ++t) {
    Unit unit = unit_of(model.tensors[t].name);
    head = head || unit.name == "lm_head";
    const auto [place, fresh] = known.try_emplace(unit.name, workload.units.size());
    if (fresh) {
      workload.experts = std::max(workload.experts, unit.expert + 1);
      workload.units.push_back(std::move(unit));
      members.emplace_back();
    }
    members[place->second].push_back(t);
  }
  workload.tied_head = !head && workload.units.front().name == "wte";
  for (std::size_t u = 0; u < workload.units.size(); ++u)
    for (const std::size_t t : members[u]) {
      workload.units[u].tensors.push_back(static_cast<std::uint32_t>(workload.tensors.size()));
      workload.units[u].elements += model.tensors[t].elements;
      workload.tensors.push_back(model.tensors[t]);
      workload.elements.push_back(model.tensors[t].elements);
      workload.total += model.tensors[t].elements;
    }
  return workload;
}

Pass build_pass(Trace trace, const Workload& workload, std::mt19937_64& random) {
  Pass pass;
  if (trace == Trace::moe)
    pass.updates = random_units(workload, random);
  else
    for (std::uint32_t u = 0; u < workload.units.size(); ++u) pass.updates.push_back(u);
  pass.fetches = pass.updates;
  if (workload.tied_head) pass.fetches.push_back(0);
  if (trace != Trace::cyclic)
    for (std::size_t i = pass.fetches.size(); i-- > 0;) pass.fetches.push_back(pass.fetches[i]);
  return pass;
}

std::vector<std::uint32_t> accesses(const Workload& workload, const Pass& pass) {
  std::vector<std::uint32_t> tensors;
  for (const std::uint32_t u : pass.fetches)
    tensors.insert(tensors.end(), workload.units[u].tensors.begin(),
                   workload.units[u].tensors.end());
  return tensors;
}

std::int64_t widest_pair(const Workload& workload, const Pass& pass) {
  std::int64_t widest = 0;
  for (std::size_t i = 0; i < pass.fetches.size(); ++i) {
    const std::uint32_t here = pass.fetches[i], next = pass.fetches[(i + 1) % pass.fetches.size()];
    widest = std::max(
        widest, workload.units[here].elements + (next == here ? 0 : workload.units[next].elements));
  }
  return widest;
}

}  // namespace spillway::params
