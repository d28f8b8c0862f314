"""Line fits to the coordinates of lit pixels: least squares and its kin, for whole batches at once.

Every estimator maps images `(N, H, W)`, lit where not zero, to `(slope, intercept)` `(N, 2)` float64
with x = column and y = H - row in pixels. Estimators that know how the images were drawn live in
`linefit.posterior`, the registry of names in `linefit.yardsticks`.

A line `y = slope * x + intercept` is undefined for fewer than 2 lit columns. All estimators but
`constant` then raise ValueError and name the image: no number would be an honest answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linefit.images import Indices, LineImages, Pixels

FloatArray = npt.NDArray[np.float64]
Lit = npt.NDArray[np.bool_]
Estimator = Callable[[Pixels], FloatArray]

HUBER_THRESHOLD = 1.345  # 95% efficiency at normal errors
NORMAL_MAD = 0.6744897501960817  # median of |z| for a standard normal z
PERFECT_FIT = 1e-9  # pixels; a smaller scale is rounding error
HUBER_STEPS, HUBER_TOLERANCE = 1000, 1e-10
LOSS_TOLERANCE = (
    1e-9  # relative; losses at different slopes of pixels differ by more, or not at all
)
PAIRS_AT_ONCE = 4_000_000  # pairs of points held in memory by the estimators that look at pairs


@dataclass(frozen=True)
class Points:
    """The lit pixels of N images, padded to the K of the image that has most."""

    x: FloatArray  # (N, K) column
    y: FloatArray  # (N, K) H - row
    lit: Lit  # (N, K) False where padded; x and y are 0 there

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, images: slice | Indices) -> Points:
        return Points(self.x[images], self.y[images], self.lit[images])


def lit_points(pixels: Pixels) -> Points:
    """The lit pixels of images `(N, H, W)`, in no order that a caller may rely on.

    Raises ValueError when `pixels` has not 3 axes.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 3:
        raise ValueError(f"pixels has shape {pixels.shape}, legal is (images, rows, columns)")
    count, height, width = pixels.shape
    image, position = np.divmod(np.flatnonzero(pixels), max(1, height * width))
    row, column = np.divmod(position, max(1, width))
    lit_pixels = np.bincount(image, minlength=count)
    slot = np.arange(len(image)) - np.repeat(np.cumsum(lit_pixels) - lit_pixels, lit_pixels)
    shape = (count, lit_pixels.max(initial=0))
    x, y, lit = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    x[image, slot] = column
    y[image, slot] = height - row
    lit[image, slot] = True
    return Points(x, y, lit)


def constant(train: LineImages) -> Estimator:
    """The estimator that answers the mean line of `train` whatever the image: the best constant.

    Raises ValueError for an empty `train`.
    """
    if not len(train):
        raise ValueError("train has no images, the mean of their lines is undefined")
    mean = train.params.mean(axis=0, dtype=np.float64)

    def mean_line(pixels: Pixels) -> FloatArray:
        return np.tile(mean, (len(pixels), 1))

    return mean_line


def least_squares(pixels: Pixels) -> FloatArray:
    """Ordinary least squares: the line of least sum of squared vertical distances."""
    points = _line_points(pixels)
    return _weighted_least_squares(points, points.lit)


def total_least_squares(pixels: Pixels) -> FloatArray:
    """Orthogonal regression: the line of least sum of squared perpendicular distances.

    Pearson, "On lines and planes of closest fit to systems of points in space", 1901.
    Raises ValueError when that line is vertical or any line through the centroid does as well.
    """
    points = _line_points(pixels)
    count, x, y = points.lit.sum(axis=1), points.x.sum(axis=1), points.y.sum(axis=1)
    # Coordinates are whole numbers: second moments times the count are exact, and so is a test for 0.
    xy = count * (points.x * points.y).sum(axis=1) - x * y
    difference = count * (points.y**2 - points.x**2).sum(axis=1) - (y**2 - x**2)
    _refuse(
        (xy == 0) & (difference >= 0),
        "has a vertical or undefined total least squares line, which has no slope",
    )
    # Two forms of the same root, each without cancellation on its side.
    root = np.hypot(difference, 2 * xy)
    steep = difference > 0
    numerator = np.where(steep, difference + root, 2 * xy)
    slope = numerator / np.where(steep, 2 * xy, root - difference)
    return np.stack([slope, (y - slope * x) / count], axis=1)


def huber(pixels: Pixels) -> FloatArray:
    """Huber's M-estimator by iteratively reweighted least squares from the least-squares line.

    The loss is quadratic up to 1.345 scales and linear beyond. The scale is estimated once, as the
    median of absolute residuals over 0.6745 around the least-squares line: estimated anew in every step, as
    others do, it need not converge on images of a few points. So the loss is convex, and each image is
    iterated until no parameter moves by more than 1e-10. An image of scale 0 keeps its least-squares
    line, on which at least half of its pixels lie. Huber, "Robust Statistics", 1981, section 7.8.
    """
    points = _line_points(pixels)
    lines = _weighted_least_squares(points, points.lit)
    scale = _median(np.abs(_residuals(points, lines)), points.lit) / NORMAL_MAD
    active = np.flatnonzero(scale > PERFECT_FIT)
    for _ in range(HUBER_STEPS):
        if not len(active):
            break
        some, reach = points[active], HUBER_THRESHOLD * scale[active, None]
        weights = some.lit * reach / np.maximum(reach, np.abs(_residuals(some, lines[active])))
        refitted = _weighted_least_squares(some, weights)
        moved = np.abs(refitted - lines[active]).max(axis=1) > HUBER_TOLERANCE
        lines[active] = refitted
        active = active[moved]
    return lines


def theil_sen(pixels: Pixels) -> FloatArray:
    """Theil-Sen: the median slope over pairs of pixels, through the medians of y and of x.

    Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.
    """

    def fit(points: Points) -> FloatArray:
        slope = _median(*_pair_slopes(points))
        medians = [_median(axis, points.lit) for axis in (points.x, points.y)]
        return np.stack([slope, medians[1] - slope * medians[0]], axis=1)

    return _in_chunks(fit, _line_points(pixels))


def least_absolute_deviations(pixels: Pixels) -> FloatArray:
    """The line of least sum of absolute vertical distances.

    Where several do, the middle of the interval of optimal slopes, and the median (of an even number:
    the middle of the two) of `y - slope * x`; both are optimal, too.
    """

    def median_line(intercepts: FloatArray, lit: Lit) -> tuple[FloatArray, FloatArray]:
        intercept = _median(intercepts, lit)
        return intercept, (np.abs(intercepts - intercept[:, None]) * lit).sum(axis=1)

    return _in_chunks(lambda points: _best_slope(points, median_line), _line_points(pixels))


def chebyshev(pixels: Pixels) -> FloatArray:
    """The minimax line, of least largest vertical distance; of several the one of middle slope."""

    def middle_line(intercepts: FloatArray, lit: Lit) -> tuple[FloatArray, FloatArray]:
        lowest = np.min(intercepts, axis=1, where=lit, initial=np.inf)
        highest = np.max(intercepts, axis=1, where=lit, initial=-np.inf)
        return (highest + lowest) / 2, (highest - lowest) / 2

    return _in_chunks(lambda points: _best_slope(points, middle_line), _line_points(pixels))


def _line_points(pixels: Pixels) -> Points:
    """Lit pixels of images that all have at least 2 lit columns; ValueError otherwise."""
    points = lit_points(pixels)
    first = np.min(points.x, axis=1, where=points.lit, initial=np.inf)
    last = np.max(points.x, axis=1, where=points.lit, initial=-np.inf)
    _refuse(first >= last, "has fewer than 2 lit columns, through which no one line goes")
    return points


def _refuse(degenerate: npt.NDArray[np.bool_], why: str) -> None:
    if degenerate.any():
        raise ValueError(
            f"image {np.flatnonzero(degenerate)[0]} {why} "
            f"({np.count_nonzero(degenerate)} of {len(degenerate)} images are like that)"
        )


def _residuals(points: Points, lines: FloatArray) -> FloatArray:
    return points.y - lines[:, :1] * points.x - lines[:, 1:]


def _weighted_least_squares(points: Points, weights: npt.NDArray[Any]) -> FloatArray:
    total = weights.sum(axis=1)
    x_mean, y_mean = (
        (weights * points.x).sum(axis=1) / total,
        (weights * points.y).sum(axis=1) / total,
    )
    x, y = points.x - x_mean[:, None], points.y - y_mean[:, None]
    slope = (weights * x * y).sum(axis=1) / (weights * x**2).sum(axis=1)
    return np.stack([slope, y_mean - slope * x_mean], axis=1)


def _median(values: FloatArray, valid: Lit) -> FloatArray:
    """Median `(N,)` of the valid ones of `(N, K)` values, at least one a row."""
    ordered = np.sort(np.where(valid, values, np.inf), axis=1)
    count, rows = np.count_nonzero(valid, axis=1), np.arange(len(values))
    middle: FloatArray = (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2
    return middle


def _pair_slopes(points: Points) -> tuple[FloatArray, Lit]:
    """Slopes of all pairs of points, `(N, K (K - 1) / 2)`, and which are those of a line."""
    one, other = np.triu_indices(points.x.shape[1], 1)
    rise, run = (axis[:, other] - axis[:, one] for axis in (points.y, points.x))
    valid = points.lit[:, one] & points.lit[:, other] & (run != 0)
    return np.divide(rise, run, out=np.zeros_like(rise), where=valid), valid


def _in_chunks(fit: Callable[[Points], FloatArray], points: Points) -> FloatArray:
    """Fit images a few at a time: their pairs of points are many."""
    pairs = points.x.shape[1] * (points.x.shape[1] - 1) // 2
    size = max(1, PAIRS_AT_ONCE // max(1, pairs))
    lines = np.empty((len(points), 2))
    for start in range(0, len(points), size):
        chunk = slice(start, start + size)
        lines[chunk] = fit(points[chunk])
    return lines


def _best_slope(
    points: Points, best_intercept: Callable[[FloatArray, Lit], tuple[FloatArray, FloatArray]]
) -> FloatArray:
    """Minimise a loss that is convex and piecewise linear in the slope, with kinks at slopes of pairs.

    `best_intercept` takes `y - slope * x` `(N, K)` and returns the best intercept and its loss. Losses
    of the L1 and L-infinity norm are of this kind: which points decide changes only where two of them
    are at the same distance. Bisection over the sorted kinks is exact.
    """
    kinks, valid = _pair_slopes(points)
    kinks = np.sort(np.where(valid, kinks, np.inf), axis=1)
    kinks[:, 1:][kinks[:, 1:] == kinks[:, :-1]] = np.inf  # equal fractions are equal floats
    kinks.sort(axis=1)
    last_kink = np.count_nonzero(np.isfinite(kinks), axis=1) - 1
    images = np.arange(len(points))

    def loss(index: Indices) -> FloatArray:
        slope = kinks[images, np.clip(index, 0, last_kink)]
        return best_intercept(points.y - slope[:, None] * points.x, points.lit)[1]

    def rise(index: Indices) -> FloatArray:
        """By how much the loss grows to the next kink, rounding errors apart."""
        here, there = loss(index), loss(index + 1)
        return np.where(np.abs(there - here) <= LOSS_TOLERANCE * (1 + here), 0, there - here)

    def first_kink(low: Indices, holds: Callable[[Indices], Lit]) -> Indices:
        """The first kink from `low` on for which `holds`, as it then does for all that follow."""
        high = last_kink
        while (low < high).any():
            middle = (low + high) // 2
            left = holds(middle) | (low == high)
            low, high = np.where(left, low, middle + 1), np.where(left, middle, high)
        return low

    first = first_kink(np.zeros_like(last_kink), lambda index: rise(index) >= 0)
    last = first_kink(first, lambda index: rise(index) > 0)
    slope = (kinks[images, first] + kinks[images, last]) / 2
    intercept, _ = best_intercept(points.y - slope[:, None] * points.x, points.lit)
    return np.stack([slope, intercept], axis=1)
