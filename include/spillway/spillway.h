#pragma once

/// Everything.
#include "spillway/cache_reference.h"
#include "spillway/config.h"
#include "spillway/context.h"
#include "spillway/dtype.h"
#include "spillway/error.h"
#include "spillway/log.h"
#include "spillway/optimizer_swapper.h"
#include "spillway/parameter_swapper.h"
#include "spillway/pass.h"
#include "spillway/path_load.h"
#include "spillway/stats.h"
#include "spillway/timeline.h"
