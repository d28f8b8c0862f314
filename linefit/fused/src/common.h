// What all instruction sets share. Included before any of them is switched on: none of its code may need one.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "program.h"
#include "tables.h"
#include "variants.h"
