#include "bench/io_result.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace spillway::io_bench {
namespace {

using Runs = std::vector<Run>;

// The first doubt among them.
std::string doubt_in(std::initializer_list<const Runs*> all) {
  for (const Runs* runs : all)
    for (const Run& run : *runs)
      if (std::string doubt = run.doubt(); !doubt.empty()) return doubt;
  return {};
}

template <typename Value>
tool::Spread over(std::size_t rounds, Value value) {
  std::vector<double> values;
  for (std::size_t round = 0; round < rounds; ++round) values.push_back(value(round));
  return tool::spread_of(std::move(values));
}

}  // namespace

std::string Run::doubt() const { return tool::above_counters(bytes_read, bytes_written, moved); }

bool Report::direct() const {
  return std::ranges::all_of(paths, [](const PathStats& path) { return path.direct_io; });
}

Figures figures_of(const GroupResult& group, const Series& series) {
  Figures figures;
  const Runs &runs = series.runs, &before = group.fio_before, &after = group.fio_after,
             &small = group.fio_small;
  figures.withheld = doubt_in({&runs});
  const bool ours = figures.withheld.empty() && !runs.empty();
  if (ours) {
    figures.gbps = over(runs.size(), [&](std::size_t i) { return runs[i].gb_per_second(); });
    figures.cpu = over(runs.size(), [&](std::size_t i) { return runs[i].cpu_per_gib(); });
  }
  const auto rate = [&](std::size_t i) {
    return (before[i].gb_per_second() + after[i].gb_per_second()) / 2;
  };
  figures.ceiling_withheld = doubt_in({&before, &after});
  if (const std::size_t n = after.size(); n > 0 && figures.ceiling_withheld.empty()) {
    figures.ceiling = over(n, rate);
    figures.control = over(
        n, [&](std::size_t i) { return after[i].gb_per_second() / before[i].gb_per_second(); });
    figures.fio_cpu = over(
        n, [&](std::size_t i) { return (before[i].cpu_per_gib() + after[i].cpu_per_gib()) / 2; });
    if (ours)
      figures.share = over(std::min(n, runs.size()),
                           [&](std::size_t i) { return runs[i].gb_per_second() / rate(i); });
  }
  const std::string small_withheld = doubt_in({&small});
  if (figures.ceiling_withheld.empty()) figures.ceiling_withheld = small_withheld;
  if (const std::size_t n = small.size(); n > 0 && small_withheld.empty()) {
    figures.small = over(n, [&](std::size_t i) { return small[i].gb_per_second(); });
    if (ours)
      figures.share_of_small = over(std::min(n, runs.size()), [&](std::size_t i) {
        return runs[i].gb_per_second() / small[i].gb_per_second();
      });
  }
  return figures;
}

}  // namespace spillway::io_bench
