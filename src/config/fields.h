#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "spillway/config.h"

namespace spillway::config {

enum class Unit { none, bytes, elements, seconds };

/// What a whole number may be.
struct Limits {
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  std::int64_t multiple = 1;
};

// A field's variable by its type, with what it may hold.
struct Flag {
  bool* value;
};
struct Whole {
  std::int64_t* value;
  Limits limits;
};
struct OptionalWhole {
  std::optional<std::int64_t>* value;  ///< unset: chosen by the plan
  Limits limits;
};
struct SmallWhole {
  int* value;
  Limits limits;
};
struct Real {
  double* value;
  double min, max;
};
struct Paths {
  std::vector<std::filesystem::path>* value;
};
struct Wholes {
  std::vector<std::int64_t>* value;
  Limits limits;  ///< of each
};
using Slot = std::variant<Flag, Whole, OptionalWhole, SmallWhole, Real, Paths, Wholes,
                          OffloadDevice*, EngineChoice*, Switch*>;

/// One key of a section: the single place that knows its name, type and range. Reading, writing,
/// checking and describing all walk these.
struct Field {
  std::string_view key;
  Slot slot;
  Unit unit = Unit::none;
  bool ds_elements = false;  ///< a ds_config counts it in elements
};

struct Section {
  std::string_view name;
  std::vector<Field> fields;

  const Field* find(std::string_view key) const;
};

/// offload_param, offload_optimizer and io, bound to `config`, which must outlive them. Keys stand
/// in the order of the structs.
std::vector<Section> sections(Config& config);

template <typename E>
struct Named {
  E value;
  std::string_view name;
};
std::span<const Named<OffloadDevice>> names(OffloadDevice);
std::span<const Named<EngineChoice>> names(EngineChoice);
std::span<const Named<Switch>> names(Switch);

/// The name of `value` in JSON ("nvme", "io_uring", "auto").
template <typename E>
std::string_view name_of(E value) {
  for (const auto& named : names(value))
    if (named.value == value) return named.name;
  return "?";
}

/// Why `value` is outside `limits` ("must be at least 1, got 0"); nullopt where it is not.
std::optional<std::string> complaint(std::int64_t value, const Limits& limits, Unit unit);
/// The same, also for what is not a number at all.
std::optional<std::string> complaint(double value, const Real& real);

/// The field's value as text, without a unit: `4`, `0.5`, `nvme`, `["/a", "/b"]`, `null`.
std::string text_of(const Field& field);

}  // namespace spillway::config
