"""Images of another size than nets are trained on: which nets can take them, and what their answers mean there.

A net is made anew for the size, with the parameters that it has learned (`linefit.architectures.net_at`). Positions are
relative to the image's side: the lab's `arange(-size/2, size/2) / size` is in [-1/2, 1/2) at every size. In these
coordinates a line with slope m and intercept c in an image of side `dim` is one with slope m and intercept
`c * 40 / dim` in the lab's. So a net says intercepts in fortieths of the image's side, and `dim / 40` times that are
pixels. What computes with pixels itself, the closed form of least squares and the votes of `hough`, says pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from linefit.images import LAB_DIM
from linefit.legal import Value, level_parts
from linefit.levels import DEFAULTS, REGISTRIES

# Levels of a net that is made for one size, with the reason.
ONE_SIZE = {
    "pooling": {"flatten": "has weights for each site"},
    "coordinates": {
        "learned": "has parameters for each site",
        "noise": "has drawn a number for each site",
        "shuffled": "has drawn a place for each site",
        **dict.fromkeys(
            ("pixels", "sinusoidal", "sinusoidal_added"),
            "counts pixels, others than those of another size",
        ),
    },
}
SAYS_PIXELS = {"architecture": ("hough",), "head": ("least_squares",)}


def size_problem(levels: Mapping[str, Value]) -> str | None:
    """Why a net cannot be evaluated on images of another size than the lab's, None where it can.

    `levels` holds those of its factors, perhaps others, which are ignored.
    """
    for factor, name in _names(levels).items():
        if name not in REGISTRIES[factor]:
            return f"{factor} {name} is not the package's own: what it does at another size is not known"
        if name in ONE_SIZE.get(factor, {}):
            return f"{factor} {name} {ONE_SIZE[factor][name]}"
    return None


def in_pixels(
    lines: npt.NDArray[Any], levels: Mapping[str, Value], dim: int
) -> npt.NDArray[np.float32]:
    """Lines `(..., 2)` as a net says them of images of side `dim`, with their intercepts in pixels."""
    names = _names(levels)
    if any(names[factor] in those for factor, those in SAYS_PIXELS.items()):
        return np.asarray(lines, dtype=np.float32)
    scale = np.array([1, dim / LAB_DIM], dtype=np.float32)
    return np.asarray(lines * scale, dtype=np.float32)


def _names(levels: Mapping[str, Value]) -> dict[str, str]:
    """Factor -> name of the level of each that has a registry."""
    whole = {**DEFAULTS, **levels}
    return {factor: level_parts(str(whole[factor]))[0] for factor in REGISTRIES}
