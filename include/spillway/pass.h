#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spillway {

/// Dense ids, so that the hot path looks nothing up by name.
enum class ParamId : std::uint32_t {};
enum class UnitId : std::uint32_t {};
/// The unit of parameters that name none.
inline constexpr UnitId default_unit{0};

/// Some of the ids, or (left alone) all of them. An empty vector is none.
template <typename Id>
class Selection {
 public:
  Selection() = default;
  Selection(std::initializer_list<Id> ids) : ids_(std::in_place, ids) {}
  Selection(std::vector<Id> ids) : ids_(std::move(ids)) {}
  bool all() const { return !ids_.has_value(); }
  const std::vector<Id>& ids() const { return *ids_; }  ///< requires !all()

 private:
  std::optional<std::vector<Id>> ids_;
};

/// Names of states: `{"master", "exp_avg"}`.
class StateNames {
 public:
  StateNames() = default;
  StateNames(std::initializer_list<std::string_view> names) : names_(names.begin(), names.end()) {}
  StateNames(std::vector<std::string> names) : names_(std::move(names)) {}
  const std::vector<std::string>& names() const { return names_; }
  bool empty() const { return names_.empty(); }

 private:
  std::vector<std::string> names_;
};

/// The order in which a pass visits tiles.
enum class Order {
  any,           ///< whatever is fastest
  registration,  ///< as units and parameters were added: for savers
};

/// What a pass moves: left alone, every state of every parameter, read and written.
///
/// `read` without `write` writes nothing, and its commit does nothing (save). `write` without
/// `read` reads nothing (load). With neither, all states are read and written.
struct Pass {
  std::optional<std::int64_t> step = std::nullopt;  ///< >= 0; makes the pass resumable
  Selection<UnitId> units = {};
  Selection<ParamId> only = {};
  StateNames read = {};
  StateNames write = {};
  Order order = Order::any;
};

}  // namespace spillway
