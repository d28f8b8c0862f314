"""What is compared: a metric is the error of an image, and how errors are made one number.

To add a metric, write a function from predictions to errors and add one line. What an aggregate does is in
`ablations.comparison.aggregates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from linefit.images import LAB_DIM
from linefit.lines import largest_distance

if TYPE_CHECKING:
    from ablations.records.results import SplitResults, VariantResults

FloatArray = npt.NDArray[np.floating[Any]]
ErrorArray = npt.NDArray[np.float64]
Aggregation = Literal["mean", "median"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What errors of items are made into, and what that is called."""

    name: str
    column: str  # in tables of numbers
    words: str  # in sentences and headings
    aggregate: Aggregation = "mean"
    items: str = "images"
    # whether a few items in a thousand hold most of the error of estimators without training
    heavy_tailed: bool = True


@dataclass(frozen=True, kw_only=True)
class Metric(Measure):
    """A measure of predicted lines."""

    # predictions (..., M, 2), truth (M, 2), side of the images in pixels -> errors (..., M)
    errors: Callable[[FloatArray, FloatArray, int], ErrorArray]
    unit: str  # on axes
    output: str | None = None  # of `linefit.known_risk`, where a yardstick's mean is known


def squared(predictions: FloatArray, truth: FloatArray) -> ErrorArray:
    """Squared errors of slope and intercept `(..., M, 2)`."""
    return (np.asarray(predictions, np.float64) - np.asarray(truth, np.float64)) ** 2


def both(predictions: FloatArray, truth: FloatArray, dim: int = LAB_DIM) -> ErrorArray:  # noqa: ARG001
    """The lab's loss of an image: the mean of the squared errors of slope (no unit) and intercept (pixels^2)."""
    mean: ErrorArray = squared(predictions, truth).mean(axis=-1)
    return mean


def slope(predictions: FloatArray, truth: FloatArray, dim: int = LAB_DIM) -> ErrorArray:  # noqa: ARG001
    """Squared error of the slope, no unit."""
    return squared(predictions, truth)[..., 0]


def intercept(predictions: FloatArray, truth: FloatArray, dim: int = LAB_DIM) -> ErrorArray:  # noqa: ARG001
    """Squared error of the intercept, pixels^2."""
    return squared(predictions, truth)[..., 1]


def distance(predictions: FloatArray, truth: FloatArray, dim: int = LAB_DIM) -> ErrorArray:
    """Largest distance of the true line inside the image from the predicted one, pixels."""
    return largest_distance(predictions, truth, dim)


BOTH = "mean of the squared errors of slope (no unit) and intercept (pixels²)"
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="mse", errors=both, column="mse", words="MSE", unit=f"MSE: {BOTH}", output="mean"
        ),
        Metric(
            name="slope",
            errors=slope,
            column="slope_mse",
            words="MSE of the slope",
            unit="slope: mean squared error (no unit)",
            output="slope",
        ),
        Metric(
            name="intercept",
            errors=intercept,
            column="intercept_mse",
            words="MSE of the intercept",
            unit="intercept: mean squared error (pixels²)",
            output="intercept",
        ),
        Metric(
            name="median",
            errors=both,
            aggregate="median",
            column="median_squared_error",
            words="median squared error",
            unit=f"median over seeds and images of the {BOTH}",
        ),
        Metric(
            name="distance",
            errors=distance,
            column="line_distance",
            words="mean largest distance between the lines (pixels)",
            unit="largest distance of the true line inside the image from the predicted one (pixels)",
        ),
    )
}


def find_metric(name: str) -> Metric:
    """The metric of this name. Raises ValueError with the legal names."""
    if name not in METRICS:
        raise ValueError(f"metric {name!r} is not one of {', '.join(METRICS)}")
    return METRICS[name]


def variant_errors(split: SplitResults, variant: VariantResults, metric: str = "mse") -> ErrorArray:
    """Errors `(K, M)` of a variant; NaN rows for cells that failed."""
    return find_metric(metric).errors(variant.predictions, split.params, split.dim)


def yardstick_errors(split: SplitResults, name: str, metric: str = "mse") -> ErrorArray:
    """Errors `(M,)` of a yardstick."""
    return find_metric(metric).errors(split.yardsticks[name], split.params, split.dim)
