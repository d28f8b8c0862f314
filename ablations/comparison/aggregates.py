"""How errors of seeds x images become one number, its interval and a comparison; which metric takes which: `metrics`.

Where a side has too few seeds for an interval there is None instead of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ablations.comparison.metrics import Aggregation, ErrorArray
from ablations.statistics import (
    Comparison,
    Interval,
    TooFewSeedsError,
    compare_estimators,
    compare_medians,
    crossed_mean,
    image_mean,
    median_interval,
)


@dataclass(frozen=True)
class Aggregate:
    """Functions of errors `(K, M)` of a variant or `(M,)` of a yardstick."""

    point: Callable[[ErrorArray], float]
    infer: Callable[[ErrorArray, float], Interval]  # errors, confidence
    contrast: Callable[
        [ErrorArray, ErrorArray, float, float], Comparison
    ]  # both errors, margin, confidence

    def interval(self, errors: ErrorArray, confidence: float) -> Interval | None:
        """The number with its interval, or None where there are too few seeds for one."""
        try:
            return self.infer(errors, confidence)
        except TooFewSeedsError:
            return None

    def compare(
        self, errors: ErrorArray, reference: ErrorArray, margin: float, confidence: float
    ) -> Comparison | None:
        """The comparison, or None where a side has too few seeds for an interval."""
        try:
            return self.contrast(errors, reference, margin, confidence)
        except TooFewSeedsError:
            return None


def _mean_interval(errors: ErrorArray, confidence: float) -> Interval:
    infer = image_mean if errors.ndim == 1 else crossed_mean
    return infer(errors, confidence=confidence)


AGGREGATES: dict[Aggregation, Aggregate] = {
    "mean": Aggregate(
        point=lambda errors: float(errors.mean()),
        infer=_mean_interval,
        contrast=lambda a, b, margin, confidence: compare_estimators(
            a, b, margin=margin, confidence=confidence
        ),
    ),
    "median": Aggregate(
        point=lambda errors: float(np.median(errors)),
        infer=lambda errors, confidence: median_interval(errors, confidence=confidence),
        contrast=lambda a, b, margin, confidence: compare_medians(
            a, b, margin=margin, confidence=confidence
        ),
    ),
}
