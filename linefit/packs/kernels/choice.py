"""Sets of kernels by name."""

from __future__ import annotations

from typing import Literal

from linefit.packs.kernels import plain
from linefit.packs.kernels.interface import Kernels

KernelSet = Literal["plain", "fused"]


def kernels(name: KernelSet) -> Kernels:
    """A set of kernels; raises ImportError for `fused` where Triton is not installed."""
    if name == "plain":
        return plain
    from linefit.packs.kernels import fused

    return fused
