"""glibc's allocator, told to keep large activations instead of mapping them anew at every step."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3), and a size above every activation of the nets here.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 1 << 30


def tune_allocator() -> bool:
    """Keep freed blocks of up to 1 GiB in the process; returns whether the allocator took it.

    By default glibc maps every block over 32 MiB and gives it back when it is freed, so that each training step
    pays for page faults on all its activations. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)) and bool(
        mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    )
