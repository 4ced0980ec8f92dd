#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/check.h"
#include "config/reading.h"
#include "config/spelling.h"

namespace spillway::config {
namespace {

// DeepSpeed's keys for things that do not exist here: an optimizer of its own, libaio, GPUDirect.
constexpr std::array<IgnoredKey, 5> ignored{{{"offload_optimizer", "super_offload"},
                                             {"offload_optimizer", "cpuadam_cores_perc"},
                                             {"io", "single_submit"},
                                             {"io", "overlap_events"},
                                             {"io", "use_gds"}}};

// DeepSpeed derives `pipeline` from the flags, and so do we; written out, it must agree.
void check_pipeline(const JsonValue& value, const std::string& path, const std::string& parent,
                    Reading& reading) {
  const OffloadOptimizerConfig& optimizer = reading.result.offload_optimizer;
  if (value.is_null() || value.is_text("auto")) return;
  if (!value.is_boolean()) {
    reading.problems.add(path, "must be true or false, got " + shown(value));
    return;
  }
  if (reading.problems.about(parent + ".pipeline_read") ||
      reading.problems.about(parent + ".pipeline_write") || value.boolean == optimizer.pipeline())
    return;
  reading.problems.add(
      path, fmt::format("is {}, but follows from pipeline_read ({}) and pipeline_write ({}); set "
                        "those and leave this out",
                        value.boolean, optimizer.pipeline_read, optimizer.pipeline_write));
}

}  // namespace

std::span<const IgnoredKey> ignored_keys() { return ignored; }

bool is_ignored(std::string_view section, std::string_view key) {
  return std::any_of(ignored.begin(), ignored.end(), [&](const IgnoredKey& one) {
    return one.section == section && one.key == key;
  });
}

Section& Reading::section(std::string_view name) {
  const auto at = std::find_if(sections.begin(), sections.end(),
                               [&](const Section& section) { return section.name == name; });
  SPILLWAY_CHECK(at != sections.end(), "sections are named by us");
  return *at;
}

void Reading::assign(const JsonValue& value, std::string_view section_name, const Field& field,
                     const std::string& path) {
  if (places.has(section_name, field.key)) {
    problems.add(path, fmt::format("is also given as {}; keep one of them",
                                   places.of(section_name, field.key)));
    return;
  }
  places.found(section_name, field.key, path);
  read_field(value, field, path, *this);
}

std::string joined(const std::vector<std::string>& words, std::string_view last) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? fmt::format(" {} ", last) : ", ";
    text += words[i];
  }
  return text;
}

std::string member_path(const std::string& parent, std::string_view key) {
  return parent.empty() ? path_name(key) : parent + "." + path_name(key);
}

std::vector<const JsonValue*> unique_members(const JsonValue& object, const std::string& path,
                                             bool (*ours)(std::string_view), Reading& reading) {
  std::vector<const JsonValue*> members;
  std::unordered_set<std::string_view> seen;
  for (const JsonValue& member : object.items) {
    if (seen.insert(member.key).second) {
      members.push_back(&member);
    } else if (ours(member.key)) {
      reading.problems.add(member_path(path, member.key),
                           "is given more than once; keep one of them");
    } else {
      reading.note(member_path(path, member.key), "is given more than once");
    }
  }
  return members;
}

std::vector<std::string> homes_of(std::string_view key, const Reading& reading) {
  std::vector<std::string> homes;
  for (const Section& section : reading.sections) {
    if (!section.find(key)) continue;
    const bool aio = reading.deepspeed() && section.name == "io" && !aio_name(key).empty();
    if (!aio)
      homes.push_back(reading.places.of(section.name));
    else if (aio_name(key) == key)
      homes.emplace_back("aio");
    else
      homes.push_back(fmt::format("aio (there called {})", aio_name(key)));
  }
  return homes;
}

bool tell_misplaced(std::string_view key, const std::string& path, Reading& reading) {
  const std::vector<std::string> homes = homes_of(key, reading);
  if (homes.empty()) return false;
  reading.problems.add(path, fmt::format("does not belong here; it is a setting of {}, move it "
                                         "there",
                                         joined(homes, "or")));
  return true;
}

void tell_unknown(std::string_view key, const std::string& path, const std::string& parent,
                  const std::vector<std::string_view>& known, Reading& reading) {
  if (const auto meant = nearest(key, known)) {
    reading.problems.add(path, fmt::format("unknown key; did you mean {}?", *meant));
    reading.problems.suspect(member_path(parent, *meant));
    return;
  }
  std::vector<std::string> all(known.begin(), known.end());
  reading.problems.add(path, fmt::format("unknown key; known here: {}", joined(all)));
}

void read_section(const JsonValue& value, const std::string& path, std::string_view name,
                  Reading& reading) {
  if (value.is_null()) return;
  if (!value.is_object()) {
    reading.problems.add(path, "must be an object, got " + shown(value));
    return;
  }
  const Section& section = reading.section(name);
  std::vector<std::string_view> known;
  for (const Field& field : section.fields) known.push_back(field.key);

  const JsonValue* pipeline = nullptr;
  const auto always = [](std::string_view) { return true; };
  for (const JsonValue* member : unique_members(value, path, always, reading)) {
    const std::string at = member_path(path, member->key);
    if (const Field* field = section.find(member->key)) {
      reading.assign(*member, name, *field, at);
    } else if (is_ignored(name, member->key)) {
      reading.ignored.push_back(at);
    } else if (name == "offload_optimizer" && member->key == "pipeline") {
      pipeline = member;  // after the flags, wherever they stand
    } else if (!tell_misplaced(member->key, at, reading)) {
      tell_unknown(member->key, at, path, known, reading);
    }
  }
  if (pipeline) check_pipeline(*pipeline, path + ".pipeline", path, reading);
}

}  // namespace spillway::config
