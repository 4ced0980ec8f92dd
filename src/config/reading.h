#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"
#include "config/json_value.h"
#include "config/places.h"
#include "config/problems.h"

#include "spillway/config.h"

namespace spillway::config {

/// One reading of a file: what it fills, and what it has to say about it.
struct Reading {
  Reading(Dialect dialect, std::int64_t ds_element_bytes)
      : places(dialect), element_bytes(ds_element_bytes), sections(config::sections(result)) {}
  Reading(const Reading&) = delete;  // `sections` points into `result`
  Reading& operator=(const Reading&) = delete;

  bool deepspeed() const { return places.dialect() == Dialect::deepspeed; }
  Section& section(std::string_view name);
  void note(const std::string& path, const std::string& text) {
    notes.push_back(path + ": " + text);
  }
  /// Reads `value` into the section's field, unless another key has given it already.
  void assign(const JsonValue& value, std::string_view section_name, const Field& field,
              const std::string& path);

  Config result;
  Places places;
  Problems problems;
  std::vector<std::string> notes;    ///< warnings, each with its path
  std::vector<std::string> ignored;  ///< paths of keys without a meaning here
  std::int64_t element_bytes;        ///< of a ds_config's buffer_size
  std::vector<Section> sections;
};

/// Reads `value` into `field`, or adds a problem at `path` and leaves the default. null and "auto"
/// leave the default with a note.
void read_field(const JsonValue& value, const Field& field, const std::string& path,
                Reading& reading);

/// Reads the object `value`, found at `path`, into the section of that name.
void read_section(const JsonValue& value, const std::string& path, std::string_view name,
                  Reading& reading);

/// The file's layouts: sections at the top; or `zero_optimization` and `aio`.
void read_native(const JsonValue& root, Reading& reading);
void read_deepspeed(const JsonValue& root, Reading& reading);

/// The members of `object` in order, each name once; a second one of the same name is a problem
/// where `ours` says that the key matters, else a note.
std::vector<const JsonValue*> unique_members(const JsonValue& object, const std::string& path,
                                             bool (*ours)(std::string_view), Reading& reading);

/// A key of DeepSpeed's that has no meaning here, in a section of ours ("io" stands for `aio`).
struct IgnoredKey {
  std::string_view section, key;
};
std::span<const IgnoredKey> ignored_keys();
bool is_ignored(std::string_view section, std::string_view key);

/// A key of `aio`, and the field of `io` that it fills. Two names mean the workers: thread_count,
/// and intra_op_parallelism in newer versions of DeepSpeed.
struct AioKey {
  std::string_view name, io_key;
};
std::span<const AioKey> aio_keys();

/// The sections that have a field `key`, as the file's author would write them ("aio", "io").
std::vector<std::string> homes_of(std::string_view key, const Reading& reading);

/// Adds "is a setting of ..., move it there" if `key` belongs to other sections.
bool tell_misplaced(std::string_view key, const std::string& path, Reading& reading);

/// Adds "unknown key", with the nearest of `known` or all of them.
void tell_unknown(std::string_view key, const std::string& path, const std::string& parent,
                  const std::vector<std::string_view>& known, Reading& reading);

/// "a", "a and b", "a, b and c".
std::string joined(const std::vector<std::string>& words, std::string_view last = "and");

/// The path of a member: "key" at the top, "parent.key" below.
std::string member_path(const std::string& parent, std::string_view key);

}  // namespace spillway::config
