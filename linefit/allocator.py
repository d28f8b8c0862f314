"""The C library's allocator, tuned for training: nothing about tensors lives here."""

from __future__ import annotations

import ctypes
import sys

# glibc's <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1
GLIBC_MMAP_THRESHOLD = 32 * 2**20  # where glibc's own adjustment of the threshold ends on 64 bits


def tune_allocator() -> bool:
    """Keep freed memory in the process; say whether this C library could be told so.

    By default glibc maps every allocation over 32 MiB anew and gives it back when freed, so that each step of a dense
    net pays a page fault for every 4 KiB of its activations. It changes no result, and does nothing where the C library
    is not glibc.
    """
    return set_thresholds(mmap=LARGEST, trim=LARGEST)


def default_allocator() -> bool:
    """What an untuned process has once it has allocated large tensors; for benchmarks that compare the two."""
    return set_thresholds(mmap=GLIBC_MMAP_THRESHOLD, trim=2 * GLIBC_MMAP_THRESHOLD)


def set_thresholds(mmap: int, trim: int) -> bool:
    """Bytes from which an allocation is a mapping of its own, and from which free memory is given back."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, mmap)) and bool(mallopt(_M_TRIM_THRESHOLD, trim))
