#include <fmt/core.h>

#include <array>
#include <utility>

#include "config/reading.h"
#include "config/spelling.h"

namespace spillway::config {
namespace {

constexpr std::array<AioKey, 4> mapped_keys{{{"block_size", "block_size"},
                                             {"queue_depth", "queue_depth"},
                                             {"thread_count", "threads"},
                                             {"intra_op_parallelism", "threads"}}};

bool always(std::string_view) { return true; }
bool is_offload(std::string_view key) {
  return key == "offload_param" || key == "offload_optimizer";
}
bool is_ours_at_top(std::string_view key) {
  return key == "zero_optimization" || key == "aio" || key == "io" || is_offload(key);
}

// A slip in one of our names would otherwise pass as one of the many sections that are not ours.
// Long names forgive two edits; "aio" only one, which no other key of DeepSpeed's is away.
bool tell_near_miss(std::string_view key, const std::string& path, Reading& reading) {
  if (key.size() > 32) return false;
  constexpr std::array<std::pair<std::string_view, std::size_t>, 3> names{
      {{"offload_param", 2}, {"offload_optimizer", 3}, {"aio", 1}}};
  for (const auto& [name, edits] : names) {
    if (edit_distance(key, name) > edits) continue;
    reading.problems.add(path, fmt::format("unknown key; did you mean {}?",
                                           name == "aio" ? "aio" : reading.places.of(name)));
    return true;
  }
  return false;
}

void read_aio(const JsonValue& value, Reading& reading) {
  if (value.is_null()) return;
  if (!value.is_object()) {
    reading.problems.add("aio", "must be an object, got " + shown(value));
    return;
  }
  std::vector<std::string_view> known;
  known.reserve(mapped_keys.size());
  for (const AioKey& key : mapped_keys) known.push_back(key.name);

  const JsonValue* newer = value.find("intra_op_parallelism");
  for (const JsonValue* member : unique_members(value, "aio", always, reading)) {
    const std::string at = member_path("aio", member->key);
    const AioKey* mapped = nullptr;
    for (const AioKey& key : mapped_keys)
      if (key.name == member->key) mapped = &key;
    if (mapped && newer && member->key == "thread_count") {
      // Newer versions of DeepSpeed do not look at it either.
      if (shown(*member) != shown(*newer))
        reading.note(at, fmt::format("{} is ignored, for intra_op_parallelism is {}",
                                     shown(*member), shown(*newer)));
    } else if (mapped) {
      reading.assign(*member, "io", *reading.section("io").find(mapped->io_key), at);
    } else if (is_ignored("io", member->key)) {
      reading.ignored.push_back(at);
    } else if (member->key == "threads") {
      reading.problems.add(at, "unknown key; its name here is intra_op_parallelism");
    } else if (!tell_misplaced(member->key, at, reading)) {
      tell_unknown(member->key, at, "aio", known, reading);
    }
  }
}

void read_zero(const JsonValue& value, Reading& reading) {
  const std::string zero = "zero_optimization";
  if (value.is_null()) return;
  if (value.is_boolean()) {  // an old form that says the stage and nothing of offloading
    reading.note(zero, fmt::format("{} configures no offloading", shown(value)));
    return;
  }
  if (!value.is_object()) {
    reading.problems.add(zero, "must be an object, got " + shown(value));
    return;
  }
  for (const JsonValue* member : unique_members(value, zero, is_offload, reading)) {
    const std::string& key = member->key;
    const std::string at = member_path(zero, key);
    if (is_offload(key)) {
      read_section(*member, at, key, reading);
    } else if (key == "aio" || key == "io") {
      reading.problems.add(at, fmt::format("does not belong here; {} is a section at the top of "
                                           "the file, beside zero_optimization",
                                           key));
    } else if (key == "cpu_offload" || key == "cpu_offload_param" || key == "cpu_offload_params") {
      reading.note(at, fmt::format("is deprecated and ignored; write {} with device \"cpu\"",
                                   key == "cpu_offload" ? "offload_optimizer" : "offload_param"));
    } else if (!tell_near_miss(key, at, reading)) {
      tell_misplaced(key, at, reading);  // pin_memory and the like; all else is DeepSpeed's
    }
  }
}

// The default budgets suit blocks up to their own size. A ds_config has no name for budgets, so
// that larger blocks would be an error that its author cannot mend where he writes.
void fit_budgets(Reading& reading) {
  IoConfig& io = reading.result.io;
  const std::string block_at = reading.places.of("io", "block_size");
  if (!reading.places.has("io", "block_size") || reading.problems.about(block_at)) return;
  const auto fit = [&](std::string_view key, std::int64_t& budget) {
    if (reading.places.has("io", key) || budget >= io.block_size) return;
    reading.note(block_at, fmt::format("raises io.{} from {} to {} bytes, to hold one block", key,
                                       budget, io.block_size));
    budget = io.block_size;
  };
  fit("read_budget", io.read_budget);
  fit("write_budget", io.write_budget);
}

}  // namespace

std::span<const AioKey> aio_keys() { return mapped_keys; }

void read_deepspeed(const JsonValue& root, Reading& reading) {
  for (const JsonValue* member : unique_members(root, "", is_ours_at_top, reading)) {
    const std::string& key = member->key;
    if (key == "zero_optimization") {
      read_zero(*member, reading);
    } else if (key == "aio") {
      read_aio(*member, reading);
    } else if (key == "io") {  // ours: what aio has no name for; DeepSpeed passes over it
      read_section(*member, "io", "io", reading);
    } else if (is_offload(key)) {
      reading.problems.add(key, "does not belong here; move it into zero_optimization");
    } else {
      tell_near_miss(key, path_name(key), reading);
    }
  }
  fit_budgets(reading);
}

}  // namespace spillway::config
