"""Medians over seeds x images and their ratios, with intervals for new seeds and new images.

The crossed analysis of the median's influence function: whether an error lies above the median, over the density
there (Hampel 1974; Woodruff 1952 for the density, JASA 47). Means are in `crossed` and `comparison`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ablations.statistics.comparison import (
    Comparison,
    Estimate,
    contrast,
    per_image,
)
from ablations.statistics.crossed import (
    FloatArray,
    Interval,
    Uncertainty,
    as_errors,
    crossed_uncertainty,
)

SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Median:
    """A median of errors `(K, M)` or `(M,)`; `influence`, of the same shape, is that of each on the median's log."""

    value: float
    low: float
    high: float
    uncertainty: Uncertainty  # of the share of errors above the median
    influence: FloatArray


def _uncertainty(values: FloatArray) -> Uncertainty:
    return crossed_uncertainty([values] if values.ndim == 2 else [], per_image(values))


def crossed_median(errors: npt.ArrayLike, *, confidence: float = 0.95) -> Median:
    """Median of pooled `errors (K, M)` of a variant, or `(M,)` of a yardstick (over images alone), with its interval.

    The limits are the quantiles at 1/2 less and plus the half width of the t interval of the share of errors above the
    median. Raises TooFewSeedsError for K < 3, ValueError for bad arrays.
    """
    values = as_errors(errors, "errors", ndim=(1, 2))
    value = float(np.median(values))
    above = (values > value) + 0.5 * (values == value)
    uncertainty = _uncertainty(above)
    reach = min(uncertainty.half_width(confidence), 0.5)
    low, high = (float(q) for q in np.quantile(values, [0.5 - reach, 0.5 + reach]))
    spread = np.log(max(high, SMALLEST)) - np.log(max(low, SMALLEST))
    slope = spread / (2 * reach) if reach > 0 else 0.0  # 1 / density of the log errors
    return Median(value, low, high, uncertainty, (above - above.mean()) * slope)


def median_interval(errors: npt.ArrayLike, *, confidence: float = 0.95) -> Interval:
    """`crossed_median` as an interval, whose `mean` is the median and whose components are on its log's scale."""
    values = as_errors(errors, "errors", ndim=(1, 2))
    median = crossed_median(values, confidence=confidence)
    scaled = _uncertainty(median.influence)
    n_seeds = len(values) if values.ndim == 2 else 0
    return Interval(
        median.value,
        median.low,
        median.high,
        median.value * scaled.se,
        scaled.df,
        scaled.components,
        n_seeds,
        values.shape[-1],
    )


def compare_medians(a: npt.ArrayLike, b: npt.ArrayLike, *, confidence: float = 0.95) -> Comparison:
    """As `compare_estimators`, for medians: ratio and difference of the two medians, on shared images.

    Raises TooFewSeedsError where a side has one or two seeds, ValueError for bad arrays, other images and medians of 0.
    """
    first, second = as_errors(a, "a", ndim=(1, 2)), as_errors(b, "b", ndim=(1, 2))
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"both must hold the same images, got {first.shape[-1]} and {second.shape[-1]}"
        )
    one, other = (crossed_median(side, confidence=confidence) for side in (first, second))
    if one.value == 0 or other.value == 0:
        raise ValueError("the ratio is undefined: an estimator's median error is 0")
    scaled = contrast(one.influence, other.influence, 1.0, 1.0)
    plain = contrast(one.influence * one.value, other.influence * other.value, 1.0, 1.0)
    difference, ratio = one.value - other.value, one.value / other.value
    half_width, factor = plain.half_width(confidence), float(np.exp(scaled.half_width(confidence)))
    return Comparison(
        difference=Estimate(
            difference, difference - half_width, difference + half_width, plain.se, plain.df
        ),
        ratio=Estimate(ratio, ratio / factor, ratio * factor, scaled.se, scaled.df),
        components=scaled.components,
        pivot=None,
        n_seeds=tuple(len(side) for side in (first, second) if side.ndim == 2),
        n_images=first.shape[-1],
        confidence=confidence,
    )
