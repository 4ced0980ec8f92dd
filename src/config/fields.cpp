#include "config/fields.h"

#include <fmt/core.h>

#include <array>
#include <cmath>

#include "base/align.h"
#include "config/json_value.h"

namespace spillway::config {
namespace {

// Bounds that only nonsense exceeds; they keep sums and products of settings inside 64 bits.
constexpr std::int64_t most_buffers = 1'000'000;
constexpr std::int64_t most_elements = std::int64_t{1} << 60;  // times 4 bytes still fits
constexpr std::int64_t most_bytes = std::int64_t{1} << 60;
constexpr std::int64_t most_depth = 32'768;     // IORING_MAX_ENTRIES
constexpr std::int64_t most_per_request = GiB;  // a registered buffer's limit
constexpr std::int64_t most_threads = 1024;
constexpr std::int64_t most_nodes = 1024;  // the kernel's MAX_NUMNODES
constexpr double longest_wait = 1e9;       // [s], 31 years

constexpr std::array<Named<OffloadDevice>, 3> device_names{
    {{OffloadDevice::none, "none"}, {OffloadDevice::cpu, "cpu"}, {OffloadDevice::nvme, "nvme"}}};
constexpr std::array<Named<EngineChoice>, 3> engine_names{{{EngineChoice::automatic, "auto"},
                                                           {EngineChoice::io_uring, "io_uring"},
                                                           {EngineChoice::threads, "threads"}}};
constexpr std::array<Named<Switch>, 3> switch_names{
    {{Switch::automatic, "auto"}, {Switch::on, "on"}, {Switch::off, "off"}}};

std::vector<Field> fields_of(OffloadParamConfig& c) {
  return {
      {"device", &c.device},
      {"nvme_path", Paths{&c.nvme_path}},
      {"buffer_count", Whole{&c.buffer_count, {.max = most_buffers}}},
      {"buffer_size", Whole{&c.buffer_size, {.max = most_bytes}}, Unit::bytes, true},
      {"max_in_cpu", Whole{&c.max_in_cpu, {.max = most_elements}}, Unit::elements},
      {"pin_memory", Flag{&c.pin_memory}},
  };
}

std::vector<Field> fields_of(OffloadOptimizerConfig& c) {
  return {
      {"device", &c.device},
      {"nvme_path", Paths{&c.nvme_path}},
      {"buffer_count", Whole{&c.buffer_count, {.max = most_buffers}}},
      {"buffer_size", OptionalWhole{&c.buffer_size, {.min = page_bytes, .max = most_bytes}},
       Unit::bytes, true},
      {"pin_memory", Flag{&c.pin_memory}},
      {"pipeline_read", Flag{&c.pipeline_read}},
      {"pipeline_write", Flag{&c.pipeline_write}},
      {"fast_init", Flag{&c.fast_init}},
      {"ratio", Real{&c.ratio, 0.0, 1.0}},
  };
}

std::vector<Field> fields_of(IoConfig& c) {
  const Limits request{.min = page_bytes, .max = most_per_request, .multiple = page_bytes};
  const Limits budget{.min = page_bytes, .max = most_bytes};
  return {
      {"engine", &c.engine},
      {"block_size", Whole{&c.block_size, request}, Unit::bytes},
      {"queue_depth", Whole{&c.queue_depth, {.min = 1, .max = most_depth}}},
      {"read_budget", Whole{&c.read_budget, budget}, Unit::bytes},
      {"write_budget", Whole{&c.write_budget, budget}, Unit::bytes},
      {"threads", Whole{&c.threads, {.max = most_threads}}},
      {"stripe_unit", Whole{&c.stripe_unit, request}, Unit::bytes},
      {"path_weights", Wholes{&c.path_weights, {.min = 1, .max = 1'000'000}}},
      {"direct", &c.direct},
      {"checksums", Flag{&c.checksums}},
      {"huge_pages", &c.huge_pages},
      {"numa_node", SmallWhole{&c.numa_node, {.min = -1, .max = most_nodes - 1}}},
      {"require_pinned", Flag{&c.require_pinned}},
      {"dump_memory", Flag{&c.dump_memory}},
      {"timeout", Real{&c.timeout, 0.001, longest_wait}, Unit::seconds},
      {"shutdown_timeout", Real{&c.shutdown_timeout, 0.0, longest_wait}, Unit::seconds},
  };
}

template <typename Items, typename Show>
std::string listed(const Items& items, Show show) {
  std::string text = "[";
  for (const auto& item : items) text += (text.size() > 1 ? ", " : "") + show(item);
  return text + "]";
}

struct Text {
  std::string operator()(const Flag& flag) const { return *flag.value ? "true" : "false"; }
  std::string operator()(const Whole& whole) const { return std::to_string(*whole.value); }
  std::string operator()(const OptionalWhole& whole) const {
    return *whole.value ? std::to_string(**whole.value) : "null";
  }
  std::string operator()(const SmallWhole& whole) const { return std::to_string(*whole.value); }
  std::string operator()(const Real& real) const { return fmt::format("{}", *real.value); }
  std::string operator()(const Paths& paths) const {
    return paths.value->empty()
               ? "null"
               : listed(*paths.value, [](const auto& path) { return in_quotes(path.string()); });
  }
  std::string operator()(const Wholes& wholes) const {
    return listed(*wholes.value, [](std::int64_t value) { return std::to_string(value); });
  }
  template <typename E>
  std::string operator()(E* value) const {
    return std::string(name_of(*value));
  }
};

}  // namespace

const Field* Section::find(std::string_view key) const {
  for (const Field& field : fields)
    if (field.key == key) return &field;
  return nullptr;
}

std::vector<Section> sections(Config& config) {
  return {{"offload_param", fields_of(config.offload_param)},
          {"offload_optimizer", fields_of(config.offload_optimizer)},
          {"io", fields_of(config.io)}};
}

std::span<const Named<OffloadDevice>> names(OffloadDevice) { return device_names; }
std::span<const Named<EngineChoice>> names(EngineChoice) { return engine_names; }
std::span<const Named<Switch>> names(Switch) { return switch_names; }

std::optional<std::string> complaint(std::int64_t value, const Limits& limits, Unit unit) {
  const std::string_view unit_name = unit == Unit::bytes      ? " bytes"
                                     : unit == Unit::elements ? " elements"
                                                              : "";
  if (value < limits.min)
    return fmt::format("must be at least {}{}, got {}", limits.min, unit_name, value);
  if (value > limits.max)
    return fmt::format("must be at most {}{}, got {}", limits.max, unit_name, value);
  if (value % limits.multiple != 0)
    return fmt::format("must be a multiple of {}{}, got {}", limits.multiple, unit_name, value);
  return std::nullopt;
}

std::optional<std::string> complaint(double value, const Real& real) {
  if (value >= real.min && value <= real.max) return std::nullopt;  // false for NaN
  return fmt::format("must be between {} and {}, got {}", real.min, real.max, value);
}

std::string text_of(const Field& field) { return std::visit(Text{}, field.slot); }

}  // namespace spillway::config
