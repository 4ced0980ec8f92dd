#define SPILLWAY_KERNEL avx512
#include "adamw_kernel.inc"
