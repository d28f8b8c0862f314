#include "common.h"
#define INSTRUCTION_SET generic
#define LANES_FLOAT 4
#define LANES_DOUBLE 2
#define TILE_ROWS 4
#include "variant.h"
