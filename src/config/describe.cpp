#include <fmt/core.h>

#include <string>

#include "base/byte_size.h"
#include "config/fields.h"

#include "spillway/config.h"

namespace spillway {
namespace {

std::string with_unit(const config::Field& field) {
  std::string text = config::text_of(field);
  switch (field.unit) {
    case config::Unit::none: return text;
    case config::Unit::elements: return text + " elements";
    case config::Unit::seconds: return text + " s";
    case config::Unit::bytes: break;
  }
  const auto* whole = std::get_if<config::Whole>(&field.slot);
  const auto* optional = std::get_if<config::OptionalWhole>(&field.slot);
  if (optional && !*optional->value) return "chosen by the plan";
  const std::int64_t bytes = whole ? *whole->value : **optional->value;
  return bytes < 1024 ? text + " bytes" : fmt::format("{} bytes ({})", bytes, format_bytes(bytes));
}

}  // namespace

std::string describe(const Config& config) {
  Config copy = config;  // the table binds to variables that it could also write
  std::string text;
  for (const config::Section& section : config::sections(copy))
    for (const config::Field& field : section.fields)
      text += fmt::format("{}.{} = {}\n", section.name, field.key, with_unit(field));
  text.pop_back();
  return text;
}

}  // namespace spillway
