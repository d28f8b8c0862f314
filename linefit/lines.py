"""Lines `y = m x + c` in square images: x = column, y = dim - row, in pixels; an image ends half a pixel out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Lines = npt.NDArray[np.floating[Any]]
FloatArray = npt.NDArray[np.float64]


def span(lines: Lines, dim: int) -> FloatArray:
    """Where lines `(..., 2)` of `(slope, intercept)` run through an image: their least and largest x there, `(..., 2)`.

    Pixels have their centres at x = 0 .. dim - 1 and y = 1 .. dim. NaN for lines that miss the image and for such as
    are not finite.
    """
    slope, intercept = np.moveaxis(np.asarray(lines, dtype=np.float64), -1, 0)
    left, right = -0.5, dim - 0.5
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bottom, top = (0.5 - intercept) / slope, (dim + 0.5 - intercept) / slope
        flat = slope == 0
        inside = (intercept >= 0.5) & (intercept <= dim + 0.5)
        low = np.where(flat, left, np.maximum(left, np.minimum(bottom, top)))
        high = np.where(flat, right, np.minimum(right, np.maximum(bottom, top)))
        crosses = np.where(flat, inside, low < high) & np.isfinite(slope) & np.isfinite(intercept)
    return np.where(crosses[..., None], np.stack([low, high], axis=-1), np.nan)


def largest_distance(predicted: Lines, true: Lines, dim: int) -> FloatArray:
    """Largest distance in pixels from a point of a true line inside the image to the predicted line, `(...,)`.

    `predicted (..., 2)` and `true (..., 2)` broadcast. The distance grows linearly away from where the lines cross, so
    it is largest at an end of the true line's segment. NaN where the true line misses the image, and for predictions
    that are NaN.
    """
    slope, intercept = np.moveaxis(np.asarray(predicted, dtype=np.float64), -1, 0)
    true = np.asarray(true, dtype=np.float64)
    ends = span(true, dim)
    y = true[..., :1] * ends + true[..., 1:]
    off = np.abs(slope[..., None] * ends + intercept[..., None] - y)
    return np.asarray(off.max(axis=-1) / np.hypot(1, slope))
