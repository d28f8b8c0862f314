"""The arithmetic of delta maps on tensors, twice: in plain torch for any device, and compiled for the CPU.

The plain form is the reference that the compiled one is tested against. Neither knows of maps or data sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from linefit.deltamap.kernels import argmax, convolution, linear, maximum, plain, sites
from linefit.deltamap.kernels.links import ActiveRows, Links


@dataclass(frozen=True)
class Kernels:
    """One way to compute; the functions' docstrings are those of `kernels.plain`."""

    gather_sites: Callable[
        [Tensor, Tensor, Tensor, int | None], tuple[Tensor, Tensor, Tensor, Tensor]
    ]
    gather_targets: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    place_rows: Callable[[Tensor, Tensor, int, int], Tensor]
    convolved_rows: Callable[[Tensor, Tensor, Tensor, Tensor, Links], Tensor]
    convolved_maximum: Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor, Links], Tensor]
    argmax_rows: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
    flat_linear: Callable[[Tensor, Tensor, Tensor, Tensor | None, ActiveRows], Tensor]


KERNELS: dict[str, Kernels] = {
    "torch": Kernels(
        plain.gather_sites,
        plain.gather_targets,
        plain.place_rows,
        plain.convolved_rows,
        plain.convolved_maximum,
        plain.argmax_rows,
        plain.flat_linear,
    ),
    "numba": Kernels(
        sites.gather_sites,
        sites.gather_targets,
        sites.place_rows,
        convolution.convolved_rows,
        maximum.convolved_maximum,
        argmax.argmax_rows,
        linear.flat_linear,
    ),
}
