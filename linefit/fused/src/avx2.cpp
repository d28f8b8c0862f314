#if defined(__x86_64__)
#include "common.h"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define INSTRUCTION_SET avx2
#define LANES_FLOAT 8
#define LANES_DOUBLE 4
#define TILE_ROWS 4
#include "variant.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
