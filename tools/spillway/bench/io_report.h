#pragma once

#include <string>

#include "bench/io_result.h"

namespace spillway::io_bench {

/// Exactly one JSON object, as --json writes it.
std::string to_json(const Report& report);
/// For people.
std::string to_text(const Report& report);

}  // namespace spillway::io_bench
