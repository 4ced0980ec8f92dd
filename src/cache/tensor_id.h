#pragma once

#include <cstdint>

namespace spillway::cache {

/// A dense number of a tensor: an index into tables, so ids are given out from 0 and used again.
using TensorId = std::uint32_t;

inline constexpr TensorId no_tensor = ~TensorId{0};

}  // namespace spillway::cache
