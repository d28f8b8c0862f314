"""The numbers that the figures of errors draw: each seed's error, that of all with its crossed interval, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.comparison.aggregates import AGGREGATES, Aggregate
from ablations.comparison.metrics import find_metric
from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.spelling import number
from ablations.comparison.stopping import Stopping, stopping
from ablations.records.results import FloatArray, SplitResults
from ablations.statistics import Estimate
from linefit.known_risk import CONSTANT

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """What is drawn of a variant. `scored` counts failed cells as the constant predictor, `given` leaves them out."""

    name: str
    n_ok: int
    seed_numbers: tuple[int, ...]
    seeds: FloatArray  # (K,) each seed's mean or median, NaN where it failed
    failed_at: float  # the error that stands for a failed cell; NaN without a constant yardstick
    scored_mean: float
    scored: Estimate | None  # None below three seeds
    given: Estimate | None  # None where nothing failed, and below three ok seeds

    @property
    def n_seeds(self) -> int:
        """Failed ones counted."""
        return len(self.seeds)

    @property
    def words(self) -> str:
        """All of it in a line: `coordconv: 1.31 [1.10, 1.56], 5 of 5 seeds ok`."""
        return f"{self.name}: {self.value}, {self.n_ok} of {self.n_seeds} seeds ok"

    @property
    def value(self) -> str:
        """The headline as text: `1.31 [1.10, 1.56]`."""
        if self.scored is None:
            return f"{number(self.scored_mean)} (no CI)"
        low, high = number(self.scored.low), number(self.scored.high)
        return f"{number(self.scored.value)} [{low}, {high}]"


def interval_of(split: SplitResults) -> str:
    """What an interval is called."""
    return stopping_of(split).interval(CONFIDENCE)


def stopping_of(split: SplitResults) -> Stopping:
    """How the seeds of a split came about."""
    return stopping(split.looks, (len(variant.seeds) for variant in split.variants))


def summarise(
    split: SplitResults,
    metric: str,
    names: Sequence[str] | None = None,
    known: Mapping[str, Estimator] | None = None,
) -> list[Summary]:
    """A summary a variant: of all in the order of the study, or of these `names`.

    `known`: the split's `estimators` for the metric where they are at hand. Raises ValueError as `estimators` does.
    """
    aggregate = AGGREGATES[find_metric(metric).aggregate]
    known = known or estimators(split, metric)
    failed_at = aggregate.point(known[CONSTANT].scores) if CONSTANT in known else np.nan
    numbers = {v.name: tuple(int(seed) for seed in v.seeds) for v in split.variants}
    chosen = numbers if names is None else names
    each = stopping_of(split).each(CONFIDENCE)
    return [_summary(known[name], numbers[name], aggregate, failed_at, each) for name in chosen]


def _summary(
    variant: Estimator,
    numbers: tuple[int, ...],
    aggregate: Aggregate,
    failed_at: float,
    confidence: float,
) -> Summary:
    seeds = np.array([aggregate.point(scores) for scores in np.asarray(variant.scores)])
    n_ok = int(variant.ok.sum())
    return Summary(
        name=variant.name,
        n_ok=n_ok,
        seed_numbers=numbers,
        seeds=np.where(variant.ok, seeds, np.nan),
        failed_at=failed_at,
        scored_mean=aggregate.point(variant.scores),
        scored=aggregate.interval(variant.scores, confidence),
        given=aggregate.interval(variant.converged, confidence) if 0 < n_ok < len(seeds) else None,
    )


def data_limits(summaries: Sequence[Summary], others: Sequence[float]) -> tuple[float, float]:
    """Limits that hold every point, and intervals as far as three times beyond the points."""
    failed = [s.failed_at for s in summaries if s.n_ok < s.n_seeds]
    values = np.array([*others, *failed, *(seed for s in summaries for seed in s.seeds)])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 10.0
    intervals = [interval for s in summaries for interval in (s.scored, s.given) if interval]
    ends = np.array([end for interval in intervals for end in (interval.low, interval.high)])
    shown = np.log10([*values, *ends[np.isfinite(ends)].clip(values.min() / 3, values.max() * 3)])
    low, high = shown.min(), shown.max()
    pad = max(0.04 * (high - low), 0.05)
    return float(10 ** (low - pad)), float(10 ** (high + pad))


def summary_table(
    summaries: Sequence[Summary],
    published: Mapping[str, float],
    yardsticks: Mapping[str, float],
) -> pd.DataFrame:
    """What figures of errors draw: rows `what` = `mean`, `mean without failed seeds`, `seed`, `published`, `yardstick`.

    Columns `estimator`, `what`, `seed`, `value`, `low`, `high`; a failed seed has no value.
    """
    rows: list[dict[str, object]] = []
    for summary in summaries:
        for what, estimate in (
            ("mean", summary.scored),
            ("mean without failed seeds", summary.given),
        ):
            if estimate is not None:
                rows.append(_row(summary.name, what, estimate.value, estimate.low, estimate.high))
            elif what == "mean":
                rows.append(_row(summary.name, what, summary.scored_mean))
        rows += [
            {**_row(summary.name, "seed", float(value)), "seed": number}
            for number, value in zip(summary.seed_numbers, summary.seeds, strict=True)
        ]
        if summary.name in published:
            rows.append(_row(summary.name, "published", published[summary.name]))
    rows += [_row(name, "yardstick", value) for name, value in yardsticks.items()]
    columns = ["estimator", "what", "seed", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


def _row(
    name: str, what: str, value: float, low: float = np.nan, high: float = np.nan
) -> dict[str, object]:
    return {
        "estimator": name,
        "what": what,
        "seed": pd.NA,
        "value": value,
        "low": low,
        "high": high,
    }
