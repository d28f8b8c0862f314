"""How scores of seeds x images become one number, its interval and a comparison; which metric takes which: `metrics`.

Where a side has too few seeds for an interval there is None instead of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from ablations.comparison.metrics import Aggregation, ErrorArray
from ablations.statistics import (
    Comparison,
    Estimate,
    Known,
    Side,
    TooFewSeedsError,
    compare_estimators,
    compare_medians,
    median_interval,
    risk_interval,
)


@dataclass(frozen=True)
class Aggregate:
    """Functions of a side: scores `(K, M)` of a variant or `(M,)` of a yardstick, or a known number."""

    point: Callable[[Side], float]
    infer: Callable[[Side, float], Estimate]  # side, confidence
    contrast: Callable[[Side, Side, float], Comparison]  # both sides, confidence

    def interval(self, side: Side, confidence: float) -> Estimate | None:
        """The number with its interval, or None where there are too few seeds for one."""
        try:
            return self.infer(side, confidence)
        except TooFewSeedsError:
            return None

    def compare(self, side: Side, reference: Side, confidence: float) -> Comparison | None:
        """The comparison, or None where a side has too few seeds for an interval."""
        try:
            return self.contrast(side, reference, confidence)
        except TooFewSeedsError:
            return None


def _mean_interval(side: Side, confidence: float) -> Estimate:
    if isinstance(side, Known):
        reach = special.ndtri((1 + confidence) / 2) * side.se
        return Estimate(side.value, side.value - reach, side.value + reach, side.se, np.inf)
    return risk_interval(side, confidence=confidence)


def _median_interval(side: Side, confidence: float) -> Estimate:
    found = median_interval(_errors(side), confidence=confidence)
    return Estimate(found.mean, found.low, found.high, found.se, found.df)


def _errors(side: Side) -> ErrorArray:
    if isinstance(side, Known):
        raise TypeError("a known number is that of a mean, it has no median")
    return side


AGGREGATES: dict[Aggregation, Aggregate] = {
    "mean": Aggregate(
        point=lambda side: float(side.mean()),
        infer=_mean_interval,
        contrast=lambda a, b, confidence: compare_estimators(a, b, confidence=confidence),
    ),
    "median": Aggregate(
        point=lambda side: float(np.median(_errors(side))),
        infer=_median_interval,
        contrast=lambda a, b, confidence: compare_medians(
            _errors(a), _errors(b), confidence=confidence
        ),
    ),
}
