#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "base/align.h"
#include "base/byte_size.h"
#include "config/reading.h"

namespace spillway::config {
namespace {

// "100MB" and "4096 B" count bytes, "100M" and "1e8" count whatever the field counts.
bool names_bytes(std::string_view text) {
  return !text.empty() && (text.back() == 'B' || text.back() == 'b');
}
bool has_unit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) && c != 'e' && c != 'E';
  });
}

double as_double(std::string_view digits) {
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size()) return std::nan("");
  if (error == std::errc::result_out_of_range && value == 0) return value;  // underflow
  return error == std::errc{} ? value : std::nan("");
}

// A whole number, or the reason why there is none.
struct Read {
  std::optional<std::int64_t> value;
  std::string complaint;
};

std::string_view wanted(Unit unit) {
  switch (unit) {
    case Unit::bytes: return "must be a whole number or a size such as \"96MiB\"";
    case Unit::elements: return "must be a whole number of elements such as 1000000000 or \"1G\"";
    default: return "must be a whole number";
  }
}

// Digits as parse_bytes reads them, with a sign.
Read read_digits(std::string_view text, const JsonValue& value, const Limits& limits, Unit unit) {
  const bool negative = text.starts_with('-');
  const std::string_view magnitude = negative ? text.substr(1) : text;
  if (const auto whole = parse_bytes(magnitude)) return {negative ? -*whole : *whole, {}};
  // Tell 1.5 from 1e30; both are refused above.
  const double real = as_double(text);
  constexpr double two_to_63 = 9223372036854775808.0;
  if (real >= two_to_63)
    return {{}, fmt::format("must be at most {}, got {}", limits.max, shown(value))};
  if (real <= -two_to_63)
    return {{}, fmt::format("must be at least {}, got {}", limits.min, shown(value))};
  return {{}, fmt::format("{}, got {}", wanted(unit), shown(value))};
}

Read read_whole(const JsonValue& value, const Limits& limits, Unit unit) {
  if (!value.is_number() && !value.is_string())
    return {{}, fmt::format("{}, got {}", wanted(unit), shown(value))};
  if (value.is_string() && unit == Unit::elements && names_bytes(value.text))
    return {{},
            fmt::format("counts elements, not bytes, got {}; write the number without B",
                        shown(value))};
  if (value.is_string() && unit == Unit::none && has_unit(value.text))
    return {{}, fmt::format("{}, got {}", wanted(unit), shown(value))};
  return read_digits(value.text, value, limits, unit);
}

struct FieldReader {
  const JsonValue& value;
  const Field& field;
  const std::string& path;
  Reading& reading;

  void operator()(const Flag& flag) const {
    if (value.is_boolean())
      *flag.value = value.boolean;
    else
      refuse("must be true or false");
  }
  void operator()(const Whole& whole) const {
    if (const auto read = whole_number(whole.limits)) *whole.value = *read;
  }
  void operator()(const OptionalWhole& whole) const {
    if (const auto read = whole_number(whole.limits)) *whole.value = *read;
  }
  void operator()(const SmallWhole& whole) const {
    const auto read = whole_number(whole.limits);
    if (!read) return;
    if (auto text = complaint(*read, whole.limits, field.unit))
      reading.problems.add(path, std::move(*text));
    else
      *whole.value = static_cast<int>(*read);
  }
  void operator()(const Real& real) const {
    if (!value.is_number()) return refuse("must be a number");
    const double read = as_double(value.text);
    if (std::isnan(read)) return refuse("must be a number that a double can hold");
    *real.value = read;
  }
  void operator()(const Paths& paths) const {
    std::vector<std::filesystem::path> read;
    if (value.is_string()) {
      read.emplace_back(value.text);
    } else if (value.is_array()) {
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (!value.items[i].is_string())
          reading.problems.add(fmt::format("{}[{}]", path, i),
                               "must be a path, got " + shown(value.items[i]));
        else
          read.emplace_back(value.items[i].text);
      }
    } else {
      return refuse("must be a path or an array of paths");
    }
    *paths.value = std::move(read);
  }
  void operator()(const Wholes& wholes) const {
    if (!value.is_array()) return refuse("must be an array of whole numbers");
    std::vector<std::int64_t> read;
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      const Read one = read_whole(value.items[i], wholes.limits, field.unit);
      if (one.value)
        read.push_back(*one.value);
      else
        reading.problems.add(fmt::format("{}[{}]", path, i), one.complaint);
    }
    *wholes.value = std::move(read);
  }
  void operator()(Switch* choice) const {
    if (value.is_boolean())
      *choice = value.boolean ? Switch::on : Switch::off;
    else
      named(choice);
  }
  template <typename E>
  void operator()(E* choice) const {
    named(choice);
  }

 private:
  void refuse(std::string_view need) const {
    reading.problems.add(path, fmt::format("{}, got {}", need, shown(value)));
  }

  template <typename E>
  void named(E* choice) const {
    std::vector<std::string> allowed;
    for (const auto& named : names(*choice)) {
      if (value.is_text(named.name)) {
        *choice = named.value;
        return;
      }
      allowed.push_back(in_quotes(named.name));
    }
    refuse("must be " + joined(allowed, "or"));
  }

  std::optional<std::int64_t> whole_number(const Limits& limits) const {
    Read read = read_whole(value, limits, field.unit);
    if (!read.value) {
      reading.problems.add(path, std::move(read.complaint));
      return std::nullopt;
    }
    if (!field.ds_elements || !reading.deepspeed()) return read.value;
    if (value.is_string() && names_bytes(value.text)) {
      reading.note(path, fmt::format("{} is taken as bytes; a plain number would count elements "
                                     "of {} bytes",
                                     shown(value), reading.element_bytes));
      return read.value;
    }
    const auto bytes = checked_multiply(*read.value, reading.element_bytes);
    if (!bytes)
      reading.problems.add(path, fmt::format("{} elements of {} bytes are more than 64 bits can "
                                             "count",
                                             *read.value, reading.element_bytes));
    return bytes;
  }
};

// Types whose own values include "auto".
bool has_auto(const Field& field) {
  return std::holds_alternative<EngineChoice*>(field.slot) ||
         std::holds_alternative<Switch*>(field.slot);
}
// Fields whose default is to have none: null says just that, and needs no note.
bool may_be_unset(const Field& field) {
  return std::holds_alternative<Paths>(field.slot) || std::holds_alternative<Wholes>(field.slot) ||
         std::holds_alternative<OptionalWhole>(field.slot);
}

}  // namespace

void read_field(const JsonValue& value, const Field& field, const std::string& path,
                Reading& reading) {
  const bool automatic = value.is_text("auto") && !has_auto(field);
  if (value.is_null() || automatic) {
    const bool plan = std::holds_alternative<OptionalWhole>(field.slot);
    if (automatic || !may_be_unset(field))
      reading.note(path, fmt::format("{} takes the default, {}", shown(value),
                                     plan ? "chosen by the plan" : text_of(field)));
    return;
  }
  std::visit(FieldReader{value, field, path, reading}, field.slot);
}

}  // namespace spillway::config
