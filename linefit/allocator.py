"""The C library's allocator, tuned for training: nothing about tensors lives here."""

from __future__ import annotations

import ctypes
import sys

# glibc's <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def tune_allocator() -> bool:
    """Keep freed memory in the process; say whether this C library could be told so.

    By default glibc maps every allocation over 32 MiB anew and gives it back when freed, so that each step of a dense
    net pays a page fault for every 4 KiB of its activations. Call it before the first large tensor. It changes no
    result, and does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
