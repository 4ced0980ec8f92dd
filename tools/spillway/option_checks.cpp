#include "option_checks.h"

#include <fmt/core.h>

#include <cctype>
#include <charconv>
#include <system_error>

#include "model.h"

#include "spillway/error.h"

namespace spillway::tool {

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  return CLI::Validator(
      [least, most](const std::string& text) {
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error == std::errc() && end == text.data() + text.size() && value >= least &&
            value <= most)
          return std::string();
        return fmt::format("must be a whole number from {} to {}, got {}", least, most, text);
      },
      "");
}

std::string names_of_models() {
  std::string list;
  for (const std::string_view name : demo::model_names())
    list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

void add_model(CLI::App& command, std::string& model, std::optional<std::int64_t>& layers) {
  command.add_option("--model", model, "One of " + names_of_models())
      ->type_name("NAME")
      ->group("Work")
      ->capture_default_str();
  command.add_option("--layers", layers, "Only the first N layers")->type_name("N")->group("Work");
}

void add_json(CLI::App& command, std::optional<std::string>& json, std::string_view usual) {
  command
      .add_option("--json", json,
                  fmt::format("One JSON object, to FILE or, without one, instead of the {}", usual))
      ->type_name("[FILE]")
      ->expected(0, 1)
      ->default_str("-")
      ->group("Result");
}

Config parse_field(std::string_view flag, std::string_view section, std::string_view key,
                   const std::string& text) {
  bool plain = !text.empty();
  for (const char c : text) plain = plain && (std::isdigit(static_cast<unsigned char>(c)) != 0);
  std::string quoted;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20)
      throw Error(Errc::invalid_argument, fmt::format("{}: a control character", flag));
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return parse_config(plain ? fmt::format(R"({{"{}": {{"{}": {}}}}})", section, key, text)
                            : fmt::format(R"({{"{}": {{"{}": "{}"}}}})", section, key, quoted),
                      {}, flag);
}

}  // namespace spillway::tool
