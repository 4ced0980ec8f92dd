#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace spillway {

/// "96.0 MiB (100663296 bytes)" is for reports; this is the short form: "96.0 MiB", "512 bytes".
std::string format_bytes(std::int64_t bytes);

/// Reads "100000000", "1e8", "100MB" (decimal), "96MiB" (binary), "1.5GiB"; unit letters in any
/// case, an optional space and a lone "B" allowed. Nullopt for what is not a whole, non-negative
/// number of bytes below 2^63.
std::optional<std::int64_t> parse_bytes(std::string_view text);

}  // namespace spillway
