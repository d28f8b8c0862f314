"""The numbers that the figures of errors draw: each seed's mean error, the mean with its crossed interval, failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablations.comparison.metrics import yardstick_errors
from ablations.comparison.scored import CONSTANT, Estimator, estimators
from ablations.comparison.spelling import number
from ablations.records.results import FloatArray, SplitResults
from ablations.statistics import Interval, crossed_mean
from ablations.statistics.crossed import MINIMUM_SEEDS


@dataclass(frozen=True)
class Summary:
    """What is drawn of a variant. `scored` counts failed cells as the constant predictor, `given` leaves them out."""

    name: str
    n_ok: int
    n_seeds: int
    seeds: FloatArray  # (K,) each seed's mean error, NaN where it failed
    failed_at: float  # the error that stands for a failed cell; NaN without a constant yardstick
    scored_mean: float
    scored: Interval | None  # None below three seeds
    given: Interval | None  # None where nothing failed, and below three ok seeds

    @property
    def value(self) -> str:
        """The headline as text: `1.31 [1.10, 1.56]`."""
        if self.scored is None:
            return f"{number(self.scored_mean)} (no CI)"
        low, high = number(self.scored.low), number(self.scored.high)
        return f"{number(self.scored.mean)} [{low}, {high}]"


def summarise(split: SplitResults, metric: str) -> list[Summary]:
    """A summary a variant, in the order of the study. Raises ValueError as `estimators` does."""
    failed_at = np.nan
    if CONSTANT in split.yardsticks:
        failed_at = float(yardstick_errors(split, CONSTANT, metric).mean())
    known = estimators(split, metric)
    return [_summary(known[variant.name], failed_at) for variant in split.variants]


def _summary(variant: Estimator, failed_at: float) -> Summary:
    n_ok, n_seeds = int(variant.ok.sum()), len(variant.ok)
    return Summary(
        name=variant.name,
        n_ok=n_ok,
        n_seeds=n_seeds,
        seeds=np.where(variant.ok, variant.errors.mean(axis=1), np.nan),
        failed_at=failed_at,
        scored_mean=float(variant.errors.mean()),
        scored=None if n_seeds < MINIMUM_SEEDS else crossed_mean(variant.errors),
        given=crossed_mean(variant.converged) if MINIMUM_SEEDS <= n_ok < n_seeds else None,
    )
