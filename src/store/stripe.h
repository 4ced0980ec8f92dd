#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spillway::store {

/// How a section is cut into units of `unit` bytes and dealt to the paths.
///
/// The units go round the paths in a fixed pattern (smooth weighted round robin: weights 2:1 deal
/// 0 1 0, not 0 0 1). Each slot starts at its own place in the pattern, its rotation, so that
/// sections of a single unit spread too. On each path the units of a slot lie one behind the
/// other: a slot has one extent per path.
///
/// Example: two paths alike, unit 1 MiB, 2.5 MiB at rotation 1: [0, 1) MiB to path 1, [1, 2) to
/// path 0, [2, 2.5) to path 1 behind the first; the extents are 1 MiB and 1.5 MiB long.
///
/// With guards, each path of several that holds units of a section, but for the one where the
/// section ends, has `guard` bytes of it behind them: room for a trailer of its own, so that each
/// file answers for itself. In memory the guards lie behind the section, in the order of the paths.
///
/// Immutable, so any thread may use it.
class Stripe {
 public:
  /// Requires: weights >= 1 (their ratio counts; it is kept to about 1/256), unit > 0, guard >= 0.
  Stripe(std::span<const std::int64_t> weights, std::int64_t unit, std::int64_t guard = 0);

  int paths() const { return static_cast<int>(units_before_.size()); }
  int period() const { return static_cast<int>(pattern_.size()); }

  /// The rotation for the next slot, of `bytes`: the one that brings the paths closest to their
  /// weights. (To go on where the last slot ended is not enough: of sections of 1.5 units over
  /// three paths, one would get three times as much as another.) `loads`: [bytes] on each path so
  /// far; `from`: where to begin to look in the pattern, which decides among equals.
  int next_rotation(std::span<const std::int64_t> loads, std::int64_t bytes, int from) const;
  /// Where the first byte of such a slot lies.
  int path_at(int rotation) const { return pattern_[static_cast<std::size_t>(rotation)]; }
  /// Where the last byte of a section of `bytes` lies.
  int path_at_end(std::int64_t bytes, int rotation) const {
    return path_of((bytes - 1) / unit_, rotation);
  }
  /// [bytes] of the extent on `path` that a section of at most `bytes` takes, with its guard.
  std::int64_t share(int path, std::int64_t bytes, int rotation) const;
  /// A section of `bytes` never takes more runs than this.
  std::int64_t max_runs(std::int64_t bytes) const;

  std::int64_t guard() const { return guard_; }
  /// How many guards a section of `bytes` has at most, whatever its rotation.
  std::int64_t guards(std::int64_t bytes) const;
  /// visit(k, path, offset): the k-th guard lies `offset` bytes behind the start of the extent on
  /// `path`, and in memory k * guard() behind the section.
  template <typename Visit>
  void for_each_guard(std::int64_t bytes, int rotation, Visit&& visit) const {
    if (guards(bytes) == 0) return;
    const int last = path_at_end(bytes, rotation);
    std::int64_t k = 0;
    for (int path = 0; path < paths(); ++path) {
      const std::int64_t offset = units_of(path, bytes, rotation);
      if (path != last && offset > 0) visit(k++, path, offset);
    }
  }

  /// A part of a section that is contiguous in memory and on its path.
  struct Run {
    int path = 0;
    std::int64_t at = 0;      ///< [bytes] from the start of the section
    std::int64_t offset = 0;  ///< [bytes] from the start of the slot's extent on that path
    std::int64_t bytes = 0;
  };
  template <typename Visit>
  void for_each_run(std::int64_t bytes, int rotation, Visit&& visit) const {
    if (paths() == 1) return visit(Run{0, 0, 0, bytes});
    std::int64_t unit_index = 0;
    for (std::int64_t at = 0; at < bytes;) {
      const int path = path_of(unit_index, rotation);
      const std::int64_t before = units(path, unit_index, rotation) * unit_;
      const std::int64_t start = at;
      while (at < bytes && path_of(unit_index, rotation) == path) {
        at += bytes - at < unit_ ? bytes - at : unit_;
        ++unit_index;
      }
      visit(Run{path, start, before, at - start});
    }
    for_each_guard(bytes, rotation, [&](std::int64_t k, int path, std::int64_t offset) {
      visit(Run{path, bytes + k * guard_, offset, guard_});
    });
  }

  /// The same for bytes [from, from + bytes) of one endless section at rotation 0: a line that is
  /// dealt over the paths. `at` counts from `from`.
  template <typename Visit>
  void for_each_run_in(std::int64_t from, std::int64_t bytes, Visit&& visit) const {
    if (paths() == 1) return visit(Run{0, 0, from, bytes});
    std::int64_t unit_index = from / unit_;
    std::int64_t inside = from % unit_;
    for (std::int64_t at = 0; at < bytes;) {
      const int path = path_of(unit_index, 0);
      const std::int64_t offset = units(path, unit_index, 0) * unit_ + inside;
      const std::int64_t start = at;
      while (at < bytes && path_of(unit_index, 0) == path) {
        const std::int64_t left = unit_ - inside;
        at += bytes - at < left ? bytes - at : left;
        inside = 0;
        ++unit_index;
      }
      visit(Run{path, start, offset, at - start});
    }
  }

 private:
  int path_of(std::int64_t unit_index, int rotation) const {
    return pattern_[static_cast<std::size_t>((unit_index + rotation) % period())];
  }
  /// How many of the first `count` units from `rotation` on go to `path`.
  std::int64_t units(int path, std::int64_t count, int rotation) const;
  /// [bytes] of a section of `bytes` that lie on `path`, without guard.
  std::int64_t units_of(int path, std::int64_t bytes, int rotation) const;

  std::int64_t unit_;
  std::int64_t guard_;
  std::vector<int> pattern_;
  // [path][i]: how many of the first i entries of the pattern, laid out twice, are that path's.
  std::vector<std::vector<std::int64_t>> units_before_;
};

}  // namespace spillway::store
