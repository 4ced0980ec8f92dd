#pragma once

#include <cstddef>
#include <string_view>

#include "config/json_value.h"

namespace spillway::config {

/// What a configuration may hold: far above any real one, and little enough that a wrong file
/// (a checkpoint, a device) costs neither much memory nor the stack.
inline constexpr std::size_t max_text_bytes = 16 * 1024 * 1024;
inline constexpr std::size_t max_values = 100'000;
inline constexpr std::size_t max_depth = 64;

/// Reads one JSON text (RFC 8259; a UTF-8 byte order mark is skipped). `name` stands for the file
/// in messages. Throws Error invalid_config: a syntax error with line and column (in bytes, from
/// 1), or a text over the limits above.
JsonValue read_json(std::string_view text, std::string_view name);

}  // namespace spillway::config
