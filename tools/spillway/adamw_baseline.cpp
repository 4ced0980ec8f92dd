#define SPILLWAY_KERNEL baseline
#include "adamw_kernel.inc"
