#pragma once

#include <memory>

#include "spillway/pass.h"

namespace spillway::swap {

class Parameters;

/// The parameter that the first values of one state come from. It does not keep its swapper alive:
/// that is the engine's, and waits for its I/O when it goes.
struct Source {
  bool known = false;
  ParamId param{};
  std::weak_ptr<Parameters> parameters;
};

}  // namespace spillway::swap
