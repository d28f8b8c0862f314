"""The numbers that the figures of errors draw: each seed's error, that of all with its crossed interval, failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablations.comparison.aggregates import AGGREGATES, Aggregate
from ablations.comparison.metrics import find_metric
from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.spelling import number
from ablations.records.results import FloatArray, SplitResults
from ablations.statistics import Estimate
from linefit.known_risk import CONSTANT

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """What is drawn of a variant. `scored` counts failed cells as the constant predictor, `given` leaves them out."""

    name: str
    n_ok: int
    n_seeds: int
    seeds: FloatArray  # (K,) each seed's mean or median, NaN where it failed
    failed_at: float  # the error that stands for a failed cell; NaN without a constant yardstick
    scored_mean: float
    scored: Estimate | None  # None below three seeds
    given: Estimate | None  # None where nothing failed, and below three ok seeds

    @property
    def value(self) -> str:
        """The headline as text: `1.31 [1.10, 1.56]`."""
        if self.scored is None:
            return f"{number(self.scored_mean)} (no CI)"
        low, high = number(self.scored.low), number(self.scored.high)
        return f"{number(self.scored.value)} [{low}, {high}]"


def summarise(split: SplitResults, metric: str) -> list[Summary]:
    """A summary a variant, in the order of the study. Raises ValueError as `estimators` does."""
    aggregate = AGGREGATES[find_metric(metric).aggregate]
    known = estimators(split, metric)
    failed_at = aggregate.point(known[CONSTANT].scores) if CONSTANT in known else np.nan
    return [_summary(known[variant.name], aggregate, failed_at) for variant in split.variants]


def _summary(variant: Estimator, aggregate: Aggregate, failed_at: float) -> Summary:
    seeds = np.array([aggregate.point(scores) for scores in np.asarray(variant.scores)])
    n_ok, n_seeds = int(variant.ok.sum()), len(variant.ok)
    return Summary(
        name=variant.name,
        n_ok=n_ok,
        n_seeds=n_seeds,
        seeds=np.where(variant.ok, seeds, np.nan),
        failed_at=failed_at,
        scored_mean=aggregate.point(variant.scores),
        scored=aggregate.interval(variant.scores, CONFIDENCE),
        given=aggregate.interval(variant.converged, CONFIDENCE) if 0 < n_ok < n_seeds else None,
    )
