#pragma once

#include "spillway/error.h"

namespace spillway {

/// In a catch block: what was caught, as an Error. Allocates nothing where an Error was caught, and
/// never throws: where memory has run out, or runs out here, it is a copy of `no_memory`, which was
/// made while there was some.
Error current_error(const Error& no_memory) noexcept;

}  // namespace spillway
