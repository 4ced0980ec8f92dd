#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace spillway::config {

/// One value of a JSON text, as it was written.
///
/// Numbers keep their digits: "1e8" and "9007199254740993" would lose their exactness as doubles.
/// Members keep their order and their duplicates, which the reader reports with their path.
struct JsonValue {
  enum class Kind { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  std::string key;               ///< name, where this is the member of an object
  std::string text;              ///< digits of a number, characters of a string
  std::vector<JsonValue> items;  ///< elements of an array, members of an object

  bool is_null() const { return kind == Kind::null; }
  bool is_object() const { return kind == Kind::object; }
  bool is_array() const { return kind == Kind::array; }
  bool is_string() const { return kind == Kind::string; }
  bool is_number() const { return kind == Kind::number; }
  bool is_boolean() const { return kind == Kind::boolean; }
  bool is_text(std::string_view value) const { return is_string() && text == value; }

  /// The first member of that name, or null.
  const JsonValue* find(std::string_view name) const {
    if (!is_object()) return nullptr;
    for (const JsonValue& item : items)
      if (item.key == name) return &item;
    return nullptr;
  }
};

/// At most `longest` bytes of `text`, "..." after it where it was cut, never inside a character.
std::string clipped(std::string_view text, std::size_t longest);

/// `text` in double quotes for a message: control characters escaped, long text cut, so that a
/// message stays on its line whatever a file holds.
std::string in_quotes(std::string_view text);

/// A member's name as part of a JSON path: plain where it can be, else quoted.
std::string path_name(std::string_view key);

/// The value as a message shows it: `"abc"`, `1.5`, `true`, `null`, `an array`, `an object`.
std::string shown(const JsonValue& value);

}  // namespace spillway::config
