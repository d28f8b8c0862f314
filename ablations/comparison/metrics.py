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


@dataclass(frozen=True)
class Metric:
    """An error of an image and what is made of the errors of all; `column` names the result in tables of numbers."""

    errors: Callable[
        [FloatArray, FloatArray], ErrorArray
    ]  # predictions (..., M, 2), truth (M, 2) -> (..., M)
    aggregate: Aggregation
    column: str
    words: str  # in sentences and headings
    unit: str  # on axes
    output: str | None = None  # of linefit.known_risk, where the means of yardsticks are known


def squared(predictions: FloatArray, truth: FloatArray) -> ErrorArray:
    """Squared errors of slope and intercept `(..., M, 2)`."""
    return (np.asarray(predictions, np.float64) - np.asarray(truth, np.float64)) ** 2


def both(predictions: FloatArray, truth: FloatArray) -> ErrorArray:
    """The lab's loss of an image: the mean of the squared errors of slope (no unit) and intercept (pixels^2)."""
    mean: ErrorArray = squared(predictions, truth).mean(axis=-1)
    return mean


def slope(predictions: FloatArray, truth: FloatArray) -> ErrorArray:
    """Squared error of the slope, no unit."""
    return squared(predictions, truth)[..., 0]


def intercept(predictions: FloatArray, truth: FloatArray) -> ErrorArray:
    """Squared error of the intercept, pixels^2."""
    return squared(predictions, truth)[..., 1]


def distance(predictions: FloatArray, truth: FloatArray) -> ErrorArray:
    """Largest distance of the true line inside the image from the predicted one, pixels."""
    return largest_distance(predictions, truth, LAB_DIM)


BOTH = "mean of the squared errors of slope (no unit) and intercept (pixels²)"
METRICS: dict[str, Metric] = {
    "mse": Metric(both, "mean", "mse", "MSE", f"MSE: {BOTH}", "mean"),
    "slope": Metric(
        slope,
        "mean",
        "slope_mse",
        "MSE of the slope",
        "slope: mean squared error (no unit)",
        "slope",
    ),
    "intercept": Metric(
        intercept,
        "mean",
        "intercept_mse",
        "MSE of the intercept",
        "intercept: mean squared error (pixels²)",
        "intercept",
    ),
    "median": Metric(
        both,
        "median",
        "median_squared_error",
        "median squared error",
        f"median over seeds and images of the {BOTH}",
    ),
    "distance": Metric(
        distance,
        "mean",
        "line_distance",
        "mean largest distance between the lines (pixels)",
        "largest distance of the true line inside the image from the predicted one (pixels)",
    ),
}


def find_metric(name: str) -> Metric:
    """The metric of this name. Raises ValueError with the legal names."""
    if name not in METRICS:
        raise ValueError(f"metric {name!r} is not one of {', '.join(METRICS)}")
    return METRICS[name]


def variant_errors(split: SplitResults, variant: VariantResults, metric: str = "mse") -> ErrorArray:
    """Errors `(K, M)` of a variant; NaN rows for cells that failed."""
    return find_metric(metric).errors(variant.predictions, split.params)


def yardstick_errors(split: SplitResults, name: str, metric: str = "mse") -> ErrorArray:
    """Errors `(M,)` of a yardstick."""
    return find_metric(metric).errors(split.yardsticks[name], split.params)
