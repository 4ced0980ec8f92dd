#pragma once

#include <cstddef>
#include <span>

#include "spillway/dtype.h"

namespace spillway::swap {

/// Whether every value of `from` is one of `to`, as far as we convert: the same dtype, or a 16-bit
/// float as f32.
bool widens(DType from, DType to);

/// Gives `values` of dtype `from` as those of dtype `to`, exactly: infinities, NaNs (their payload
/// too), zeros' signs and subnormals stay what they are, also on a thread that flushes subnormals.
/// Requires: widens(from, to), and as many values in both. Neither needs an alignment.
void widen(std::span<const std::byte> values, DType from, std::span<std::byte> into, DType to);

}  // namespace spillway::swap
