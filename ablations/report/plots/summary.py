"""The numbers that the figures of errors draw: each seed's mean error, the mean with its crossed interval, failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablations.records.results import FloatArray, Metric, SplitResults
from ablations.report.plots.style import number
from ablations.statistics import Interval, crossed_mean, score_failures
from ablations.statistics.crossed import MINIMUM_SEEDS


@dataclass(frozen=True)
class Summary:
    """What is drawn of a variant. `scored` counts failed cells as the constant predictor, `given` leaves them out."""

    name: str
    n_ok: int
    n_seeds: int
    seeds: FloatArray  # (K,) each seed's mean error, NaN where it failed
    failed_at: float  # the error that stands for a failed cell; NaN without a constant yardstick
    scored_mean: float  # NaN with failures that nothing can stand for
    scored: Interval | None  # None below three seeds, and with failures that nothing can stand for
    given: Interval | None  # None where nothing failed, and below three ok seeds

    @property
    def value(self) -> str:
        """The headline as text: `1.31 [1.10, 1.56]`."""
        if not np.isfinite(self.scored_mean):
            return "no value: failures"
        if self.scored is None:
            return f"{number(self.scored_mean)} (no CI)"
        low, high = number(self.scored.low), number(self.scored.high)
        return f"{number(self.scored.mean)} [{low}, {high}]"


def summarise(split: SplitResults, metric: Metric) -> list[Summary]:
    """A summary a variant, in the order of the study."""
    constant = None
    if "constant" in split.yardsticks:
        constant = split.yardstick_errors("constant", metric)
    summaries = []
    for variant in split.variants:
        errors, ok = split.errors(variant, metric), variant.ok
        n_ok, n_seeds = int(ok.sum()), len(ok)
        scored = None
        if n_ok == n_seeds or constant is not None:
            scored = score_failures(errors, ok, constant)
        summaries.append(
            Summary(
                name=variant.name,
                n_ok=n_ok,
                n_seeds=n_seeds,
                seeds=errors.mean(axis=1),
                failed_at=np.nan if constant is None else float(constant.mean()),
                scored_mean=np.nan if scored is None else float(scored.mean()),
                scored=None if scored is None or n_seeds < MINIMUM_SEEDS else crossed_mean(scored),
                given=crossed_mean(errors[ok]) if MINIMUM_SEEDS <= n_ok < n_seeds else None,
            )
        )
    return summaries
