#define SPILLWAY_KERNEL avx2
#include "adamw_kernel.inc"
