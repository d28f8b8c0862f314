#if defined(__x86_64__)
#include "common.h"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif
#define INSTRUCTION_SET avx512
#define LANES_FLOAT 16
#define LANES_DOUBLE 8
#define TILE_ROWS 8
#include "variant.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
