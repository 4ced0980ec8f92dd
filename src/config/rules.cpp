#include "config/rules.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "base/align.h"
#include "config/fields.h"
#include "config/json_value.h"

namespace spillway::config {
namespace {

namespace fs = std::filesystem;

// What one field's own range says.
struct RangeCheck {
  std::string path;
  Unit unit;
  Problems& problems;

  void operator()(const Whole& whole) const {
    tell(path, complaint(*whole.value, whole.limits, unit));
  }
  void operator()(const OptionalWhole& whole) const {
    if (*whole.value) tell(path, complaint(**whole.value, whole.limits, unit));
  }
  void operator()(const SmallWhole& whole) const {
    tell(path, complaint(*whole.value, whole.limits, unit));
  }
  void operator()(const Real& real) const { tell(path, complaint(*real.value, real)); }
  void operator()(const Wholes& wholes) const {
    for (std::size_t i = 0; i < wholes.value->size(); ++i)
      tell(fmt::format("{}[{}]", path, i), complaint((*wholes.value)[i], wholes.limits, unit));
  }
  void operator()(const Paths& paths) const {
    for (std::size_t i = 0; i < paths.value->size(); ++i) {
      const std::string text = (*paths.value)[i].string();
      const std::string at = paths.value->size() == 1 ? path : fmt::format("{}[{}]", path, i);
      if (text.empty())
        problems.add(at, "is empty; name a directory, or leave it out");
      else if (text.find('\0') != text.npos)
        problems.add(at, "holds a NUL character, which no path can");
    }
  }
  template <typename Other>
  void operator()(const Other&) const {}  // every value of these types is in range

  void tell(const std::string& where, std::optional<std::string> text) const {
    if (text) problems.add(where, std::move(*text));
  }
};

void check_ranges(const Config& config, const Places& places, Problems& problems) {
  Config copy = config;  // the table binds to variables that it could also write
  for (const Section& section : sections(copy))
    for (const Field& field : section.fields) {
      const std::string path = places.of(section.name, field.key);
      if (!problems.about(path)) std::visit(RangeCheck{path, field.unit, problems}, field.slot);
    }
}

// "/a/b/" and "/a/./b" are one; links are for check_paths, which looks.
fs::path normal(const fs::path& path) {
  fs::path clean = path.lexically_normal();
  return clean.has_filename() || !clean.has_relative_path() ? clean : clean.parent_path();
}

void check_duplicates(const std::vector<fs::path>& paths, const std::string& where,
                      Problems& problems) {
  std::vector<fs::path> clean;
  for (const fs::path& path : paths) {
    clean.push_back(normal(path));
    const auto first = std::find(clean.begin(), clean.end() - 1, clean.back());
    if (path.empty() || first == clean.end() - 1) continue;
    problems.add(fmt::format("{}[{}]", where, clean.size() - 1),
                 fmt::format("{} names the same directory as [{}]; give each path once",
                             in_quotes(path.string()), first - clean.begin()));
  }
}

// The rules that both sections share.
template <typename Offload>
void check_offload(std::string_view section, const Offload& offload, std::int64_t least_buffers,
                   std::string_view why, const Places& places, Problems& problems) {
  const std::string path_at = places.of(section, "nvme_path");
  const std::string count_at = places.of(section, "buffer_count");
  if (!problems.about(path_at)) check_duplicates(offload.nvme_path, path_at, problems);
  if (offload.device != OffloadDevice::nvme) return;
  if (offload.nvme_path.empty() && !problems.about(path_at))
    problems.add(path_at,
                 "device \"nvme\" needs at least one directory here, such as \"/local_nvme\"");
  if (offload.buffer_count < least_buffers && !problems.about(count_at))
    problems.add(count_at, fmt::format("must be at least {} with {}, got {}", least_buffers, why,
                                       offload.buffer_count));
}

void check_optimizer(const Config& config, const Places& places, Problems& problems) {
  const OffloadOptimizerConfig& optimizer = config.offload_optimizer;
  // A tile being computed, one being read ahead, one being written behind.
  const bool both = optimizer.pipeline_read && optimizer.pipeline_write;
  const std::int64_t least = both ? 3 : optimizer.pipeline() ? 2 : 1;
  const std::string_view why = both                       ? "pipeline_read and pipeline_write"
                               : optimizer.pipeline_read  ? "pipeline_read"
                               : optimizer.pipeline_write ? "pipeline_write"
                                                          : "device \"nvme\"";
  check_offload("offload_optimizer", optimizer, least, why, places, problems);
}

void check_param(const Config& config, const Places& places, Problems& problems) {
  const OffloadParamConfig& param = config.offload_param;
  check_offload("offload_param", param, 1, "device \"nvme\"", places, problems);
  const std::string size_at = places.of("offload_param", "buffer_size");
  if (problems.about(size_at)) return;
  if (param.device == OffloadDevice::nvme && param.buffer_size < page_bytes)
    problems.add(size_at, fmt::format("must be at least {} bytes with device \"nvme\", got {}",
                                      page_bytes, param.buffer_size));
}

// The pool is one region: its size must be a number.
void check_pool(std::string_view section, std::int64_t count, std::int64_t size,
                const Places& places, Problems& problems) {
  const std::string count_at = places.of(section, "buffer_count");
  const std::string size_at = places.of(section, "buffer_size");
  if (problems.about(count_at) || problems.about(size_at)) return;
  if (!checked_multiply(count, size))
    problems.add(size_at, fmt::format("buffer_count x buffer_size, {} x {} bytes, is more than 64 "
                                      "bits can count; lower one of them",
                                      count, size));
}

void check_io(const Config& config, const Places& places, Problems& problems) {
  const IoConfig& io = config.io;
  const std::string block_at = places.of("io", "block_size");
  const std::string weights_at = places.of("io", "path_weights");
  const auto check_budget = [&](std::string_view key, std::int64_t budget) {
    const std::string at = places.of("io", key);
    if (budget < io.block_size && !problems.about(at) && !problems.about(block_at))
      problems.add(at, fmt::format("must be at least {} ({} bytes), got {}; raise it or lower {}",
                                   block_at, io.block_size, budget, block_at));
  };
  check_budget("read_budget", io.read_budget);
  check_budget("write_budget", io.write_budget);

  const auto check_weights = [&](std::string_view section, OffloadDevice device,
                                 std::size_t paths) {
    const std::string path_at = places.of(section, "nvme_path");
    if (device != OffloadDevice::nvme || io.path_weights.empty() || problems.about(weights_at) ||
        problems.about(path_at) || paths == io.path_weights.size())
      return;
    problems.add(weights_at, fmt::format("holds {} weights for the {} paths of {}; give one each",
                                         io.path_weights.size(), paths, path_at));
  };
  check_weights("offload_param", config.offload_param.device,
                config.offload_param.nvme_path.size());
  check_weights("offload_optimizer", config.offload_optimizer.device,
                config.offload_optimizer.nvme_path.size());
}

}  // namespace

void check(const Config& config, const Places& places, Problems& problems) {
  check_ranges(config, places, problems);
  check_param(config, places, problems);
  check_optimizer(config, places, problems);
  check_pool("offload_param", config.offload_param.buffer_count, config.offload_param.buffer_size,
             places, problems);
  check_pool("offload_optimizer", config.offload_optimizer.buffer_count,
             config.offload_optimizer.buffer_size.value_or(0), places, problems);
  check_io(config, places, problems);
}

}  // namespace spillway::config

namespace spillway {

void validate(const Config& config) {
  config::Problems problems;
  config::check(config, config::Places{}, problems);
  problems.throw_if_any("config");
}

}  // namespace spillway
