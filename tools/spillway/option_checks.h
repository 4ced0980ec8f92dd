#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spillway/config.h"

namespace spillway::tool {

/// Refuses what is no whole number of [least, most], fractions and exponents included.
CLI::Validator whole_number(std::int64_t least, std::int64_t most);

/// The models that make_model() knows, for a help text.
std::string names_of_models();

/// --model and --layers, as every command that has a model offers them.
void add_model(CLI::App& command, std::string& model, std::optional<std::int64_t>& layers);

/// --json [FILE], as every bench offers it: a file, or "-": instead of the `usual` output.
void add_json(CLI::App& command, std::optional<std::string>& json, std::string_view usual);

/// Reads one value by the rules of config files, so that "96MiB" means on a command line what it
/// means there: `text` is a number as it stands, or becomes a JSON string. `flag` stands for it in
/// messages. Throws Error: invalid_config, invalid_argument.
Config parse_field(std::string_view flag, std::string_view section, std::string_view key,
                   const std::string& text);

}  // namespace spillway::tool
