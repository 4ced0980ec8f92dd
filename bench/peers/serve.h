#pragma once

#include "peer.h"

namespace spillway::bench {

/// Steps on demand, for a program that lets several take turns (alternate.py): a line of JSON on
/// standard output when all is there, then one for each line "step" on standard input. At the end
/// of the input the state is checked, and the last line says so. Throws Error.
void serve(Peer& peer, const StepShape& shape);

}  // namespace spillway::bench
