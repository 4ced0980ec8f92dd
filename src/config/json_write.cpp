#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

#include "base/throw.h"
#include "config/fields.h"
#include "config/json_value.h"
#include "config/places.h"

#include "spillway/config.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;  // keys stay in the order of the structs
using config::Field;
using config::Section;

struct FieldWriter {
  Json operator()(const config::Flag& flag) const { return *flag.value; }
  Json operator()(const config::Whole& whole) const { return *whole.value; }
  Json operator()(const config::OptionalWhole& whole) const {
    return *whole.value ? Json(**whole.value) : Json();
  }
  Json operator()(const config::SmallWhole& whole) const { return *whole.value; }
  Json operator()(const config::Real& real) const {
    if (!std::isfinite(*real.value))  // JSON has no word for it
      throw_error(Errc::invalid_argument, "a config that holds {} cannot be written as JSON",
                  *real.value);
    return *real.value;
  }
  Json operator()(const config::Paths& paths) const {
    if (paths.value->empty()) return nullptr;
    // A lone "auto" would come back as the default.
    if (paths.value->size() == 1 && paths.value->front() != "auto")
      return paths.value->front().string();
    Json array = Json::array();
    for (const auto& path : *paths.value) array.push_back(path.string());
    return array;
  }
  Json operator()(const config::Wholes& wholes) const { return *wholes.value; }
  template <typename E>
  Json operator()(E* value) const {
    return std::string(config::name_of(*value));
  }
};

Json value_of(const Field& field) { return std::visit(FieldWriter{}, field.slot); }

Json object_of(const Section& section) {
  Json object = Json::object();
  for (const Field& field : section.fields) object[std::string(field.key)] = value_of(field);
  return object;
}

std::string text_of(const Json& json) {
  try {
    return json.dump(2) + "\n";
  } catch (const Json::type_error&) {
    throw_error(Errc::invalid_argument,
                "an nvme_path that is not UTF-8 cannot be written as JSON; use another name");
  }
}

// `bytes` of a field as a ds_config counts them.
std::int64_t elements_of(std::int64_t bytes, std::int64_t element_bytes, std::string_view section) {
  if (bytes % element_bytes != 0)
    throw_error(Errc::invalid_argument,
                "{}.buffer_size, {} bytes, is not a whole number of elements of {} bytes, which a "
                "ds_config would have to hold",
                section, bytes, element_bytes);
  return bytes / element_bytes;
}

Json ds_offload(const Section& section, std::int64_t element_bytes) {
  Json object = object_of(section);
  for (const Field& field : section.fields) {
    Json& value = object[std::string(field.key)];
    if (!field.ds_elements) continue;
    if (value.is_null())
      object.erase(std::string(field.key));  // ours; DeepSpeed would not know it
    else
      value = elements_of(value.get<std::int64_t>(), element_bytes, section.name);
  }
  return object;
}

}  // namespace

std::string to_json(const Config& config) {
  Config copy = config;  // the table binds to variables that it could also write
  Json root = Json::object();
  for (const Section& section : config::sections(copy))
    root[std::string(section.name)] = object_of(section);
  return text_of(root);
}

std::string to_ds_json(const Config& config, std::int64_t element_bytes) {
  if (element_bytes < 1 || element_bytes > 16)
    throw_error(Errc::invalid_argument, "element_bytes must be between 1 and 16, got {}",
                element_bytes);
  Config copy = config, untouched;
  const std::vector<Section> ours = config::sections(copy), defaults = config::sections(untouched);
  Json root = Json::object(), aio = Json::object(), io = Json::object();
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (ours[i].name != "io") {
      root["zero_optimization"][std::string(ours[i].name)] = ds_offload(ours[i], element_bytes);
      continue;
    }
    for (std::size_t f = 0; f < ours[i].fields.size(); ++f) {
      const Field& field = ours[i].fields[f];
      const std::string_view name = config::aio_name(field.key);
      const Json value = value_of(field);
      const bool is_default = value == value_of(defaults[i].fields[f]);
      if (name == field.key || (!name.empty() && !is_default))
        aio[std::string(name)] = value;
      else if (!is_default)
        io[std::string(field.key)] = value;
    }
  }
  root["aio"] = std::move(aio);
  if (!io.empty()) root["io"] = std::move(io);
  return text_of(root);
}

}  // namespace spillway
