"""The numbers of a comparison: one row an estimator, and which figure stands in which column.

How they are inferred is in `ablations.statistics`, how they are worded in `wording`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.comparison.aggregates import AGGREGATES, Aggregate
from ablations.comparison.metrics import ErrorArray, Measure
from ablations.comparison.scored import Estimator
from ablations.comparison.stopping import FIXED, Stopping
from ablations.statistics import (
    Comparison,
    Estimate,
    Known,
    TooFewSeedsError,
    adjust,
    convergence,
    median_over_seeds,
    probability_nearer,
    rate_not_excluded,
    risk_interval,
    seed_groups,
    share_nearer,
    verdict,
)
from ablations.statistics.risk import IMITATES
from linefit.known_risk import FLOOR

# Where nothing is known of the population of images, simulated 95% intervals of a mean that involves an estimator
# without training cover .85 to .93 with 5,000 images and .94 to .97 with 50,000 (`before` in
# results/statistics/risk.md): a few images in a thousand hold most of its error, and a sample that lacks its share of
# them cannot know.
ENOUGH_IMAGES = 30_000


@dataclass(frozen=True)
class Question:
    """What is asked of every estimator of a split."""

    metric: Measure
    reference: Estimator
    margin: float
    confidence: float  # of each interval
    floor: Estimator | None
    stopping: Stopping = FIXED

    @property
    def aggregate(self) -> Aggregate:
        return AGGREGATES[self.metric.aggregate]

    def compare(self, estimator: Estimator) -> Comparison | None:
        """An estimator against the reference; None for itself and where there are too few seeds."""
        if estimator is self.reference:
            return None
        return self.aggregate.compare(estimator.scores, self.reference.scores, self.confidence)


def few_images(metric: Measure, *sides: Estimator) -> bool:
    """Whether an interval would rest on too few images: on the mean of a yardstick's errors that is not known."""
    if metric.aggregate != "mean" or not metric.heavy_tailed:
        return False
    return any(
        not (side.is_variant or side.known) and side.errors.shape[-1] < ENOUGH_IMAGES
        for side in sides
    )


def worst_share(errors: ErrorArray) -> float:
    """Share of the summed error that the worst 1% of images hold (of their means over seeds)."""
    by_image = np.sort(errors.mean(axis=0) if errors.ndim == 2 else errors)
    total = float(by_image.sum())
    worst = by_image[-max(round(len(by_image) / 100), 1) :]
    return float(worst.sum()) / total if total > 0 else np.nan


def _limits(name: str, interval: object) -> dict[str, float]:
    """Columns `name_low` and `name_high`; NaN where there is no interval."""
    return {f"{name}_{end}": getattr(interval, end, np.nan) for end in ("low", "high")}


def _row(estimator: Estimator, asked: Question, comparison: Comparison | None) -> dict[str, object]:
    """One row of the table but for what depends on the other rows."""
    reference, floor, aggregate = asked.reference, asked.floor, asked.aggregate
    column, of_means = asked.metric.column, asked.metric.aggregate == "mean"
    value, at = aggregate.point(estimator.scores), aggregate.point(reference.scores)
    interval = aggregate.interval(estimator.scores, asked.confidence)
    to_floor = None
    if floor is not None and estimator is not floor:
        to_floor = aggregate.compare(estimator.scores, floor.scores, asked.confidence)
    row: dict[str, object] = {
        "variant": estimator.name,
        "kind": "variant" if estimator.is_variant else "yardstick",
        **_seeds(estimator, asked),
        column: value,
        "low": interval.low if interval else np.nan,
        "high": interval.high if interval else np.nan,
        **{name: mean for name, mean in estimator.means.items() if name != column},
        "exact": isinstance(estimator.scores, Known),
        **_regret(estimator, asked),
        "worst_1_percent_share": worst_share(estimator.errors) if of_means else np.nan,
        "ratio": value / at,
        **_limits("ratio", comparison and comparison.ratio),
        **_paired(estimator, asked),
        "difference": value - at,
        **_limits("difference", comparison and comparison.difference),
        "p": comparison.p if comparison else np.nan,
        "p_different": comparison.p_different(asked.margin) if comparison else np.nan,
        **_nearer(estimator, reference, asked.confidence),
        "ratio_to_floor": value / aggregate.point(floor.scores) if floor else np.nan,
        **_limits("ratio_to_floor", to_floor and to_floor.ratio),
        "few_images": few_images(asked.metric, estimator, reference),
        "imitates": bool(estimator.beta >= IMITATES),
        "beta": estimator.beta,
    }
    return row | _given_convergence(estimator, asked)


def _seeds(estimator: Estimator, asked: Question) -> dict[str, object]:
    """How many seeds there are, and what may be said of so many."""
    if not estimator.is_variant:
        nothing = dict.fromkeys(
            ("failure_rate_not_excluded", "seed_groups_p", "median_over_seeds"), np.nan
        )
        counts = {"flagged": False, "outlying_seeds": False, "n_ok": pd.NA, "n_seeds": pd.NA}
        return {
            **counts,
            **_limits("ok", None),
            **nothing,
            **_limits("median_over_seeds", None),
        }
    ok, each, n_failed = estimator.ok, asked.stopping.each(0.95), int((~estimator.ok).sum())
    by_seed = np.asarray(estimator.scores).mean(axis=1)
    of_seeds = asked.metric.aggregate == "mean" and len(ok) > 1
    groups = seed_groups(by_seed) if of_seeds and (by_seed > 0).all() else None
    middle = median_over_seeds(by_seed, confidence=asked.confidence) if of_seeds else None
    return {
        "flagged": estimator.flagged,
        "outlying_seeds": bool(groups and groups.apart),
        "n_ok": int(ok.sum()),
        "n_seeds": len(ok),
        **_limits("ok", convergence(ok, confidence=each)),
        "failure_rate_not_excluded": rate_not_excluded(len(ok), n_failed, confidence=each),
        "seed_groups_p": groups.p if groups else np.nan,
        "median_over_seeds": middle.median if middle else np.nan,
        **_limits("median_over_seeds", middle),
    }


def _regret(estimator: Estimator, asked: Question) -> dict[str, float]:
    """What the metric exceeds that of the floor by, where the floor is known."""
    floor = asked.floor
    if floor is None or not isinstance(floor.scores, Known):
        return {"regret": np.nan, **_limits("regret", None)}
    at, scores = floor.scores.value, estimator.scores
    interval: Estimate | None = None
    if isinstance(scores, Known):
        reach = 0.0 if estimator is floor else scores.se * 1.96
        interval = Estimate(
            scores.value - at,
            scores.value - at - reach,
            scores.value - at + reach,
            scores.se,
            np.inf,
        )
    else:
        try:
            interval = risk_interval(scores, offset=at, confidence=asked.confidence)
        except TooFewSeedsError:
            interval = None
    return {"regret": float(scores.mean()) - at, **_limits("regret", interval)}


def _paired(estimator: Estimator, asked: Question) -> dict[str, float]:
    """The ratio to a reference that is known, on these very images: of errors, paired, however few the images."""
    reference, name = asked.reference, "ratio_on_these_images"
    if not isinstance(reference.scores, Known):
        return {name: np.nan, **_limits(name, None)}
    paired = None
    if estimator is not reference:
        paired = asked.aggregate.compare(estimator.errors, reference.errors, asked.confidence)
    value = float(estimator.errors.mean() / reference.errors.mean())
    return {name: value, **_limits(name, paired and paired.ratio)}


def _nearer(estimator: Estimator, reference: Estimator, confidence: float) -> dict[str, float]:
    """The chance of being nearer to the truth on an image."""
    if estimator is reference:
        return {"p_beats": np.nan, **_limits("p_beats", None)}
    try:
        found = probability_nearer(estimator.errors, reference.errors, confidence=confidence)
    except TooFewSeedsError:
        found = None
    return {
        "p_beats": share_nearer(estimator.errors, reference.errors),
        **_limits("p_beats", found),
    }


def _given_convergence(estimator: Estimator, asked: Question) -> dict[str, float]:
    """The metric and the ratio of the cells that are ok alone."""
    own, against, aggregate = estimator.converged, asked.reference.converged, asked.aggregate
    column = f"{asked.metric.column}_given_convergence"
    some, others = (isinstance(side, Known) or len(side) > 0 for side in (own, against))
    interval = ratio = None
    value = aggregate.point(own) if some else np.nan
    if some and others:
        interval = aggregate.interval(own, asked.confidence)
        if estimator is not asked.reference:
            ratio = aggregate.compare(own, against, asked.confidence)
    return {
        column: value,
        **_limits(column, interval),
        "ratio_given_convergence": value / aggregate.point(against) if others else np.nan,
        **_limits("ratio_given_convergence", ratio and ratio.ratio),
    }


def comparison_table(
    known: Mapping[str, Estimator],
    reference: Estimator,
    published: Mapping[str, float],
    metric: Measure,
    margin: float,
    confidence: float,
    stopping: Stopping = FIXED,
) -> pd.DataFrame:
    """One row an estimator: variants by their error, then yardsticks by theirs.

    `p_holm` and `p_different_holm` adjust `p` (of a ratio of 1) and `p_different` (of a ratio outside the margin) over
    all that were tested: variants, and yardsticks whose means are not known. They and intervals hold over all looks.
    """
    if margin <= 1:
        raise ValueError(f"margin is a ratio above 1, got {margin}")
    floor, each = known.get(FLOOR), stopping.each(confidence)
    asked = Question(metric, reference, margin, each, floor, stopping)
    compared = {e.name: asked.compare(e) for e in known.values()}
    table = pd.DataFrame([_row(e, asked, compared[e.name]) for e in known.values()]).astype(
        {"n_ok": "Int64", "n_seeds": "Int64"}
    )
    exact = np.array([isinstance(known[name].scores, Known) for name in table["variant"]])
    if not isinstance(reference.scores, Known):
        exact[:] = False
    for name in ("p", "p_different"):
        adjusted = adjust(stopping.p(table[name].where(~exact)), "holm")
        table.insert(list(table.columns).index(name) + 1, f"{name}_holm", adjusted)
    words = [
        "reference"
        if row["variant"] == reference.name
        else verdict(
            compared[row["variant"]],
            *(row[p] if is_exact else row[f"{p}_holm"] for p in ("p", "p_different")),
            level=1 - confidence,
        )
        for row, is_exact in zip(table.to_dict("records"), exact, strict=True)
    ]
    table.insert(1, "verdict", words)
    table["published"] = [published.get(name, np.nan) for name in table["variant"]]
    column = metric.column
    table = table.sort_values(["kind", column], ignore_index=True)
    rank = table[column].where(table["kind"].eq("variant")).rank(method="min").astype("Int64")
    table.insert(0, "rank", rank)
    return table


def pairs_table(
    known: Sequence[Estimator], metric: Measure, confidence: float, stopping: Stopping = FIXED
) -> pd.DataFrame:
    """Every pair of variants, explored: `p` and its Benjamini-Hochberg adjustment `p_bh`, best first."""
    rows = []
    confidence = stopping.each(confidence)
    aggregate = AGGREGATES[metric.aggregate]
    variants = sorted(
        (estimator for estimator in known if estimator.is_variant),
        key=lambda estimator: aggregate.point(estimator.scores),
    )
    for i, better in enumerate(variants):
        for worse in variants[i + 1 :]:
            comparison = aggregate.compare(worse.scores, better.scores, confidence)
            rows.append(
                {
                    "variant": worse.name,
                    "against": better.name,
                    "flagged": worse.flagged or better.flagged,
                    "ratio": aggregate.point(worse.scores) / aggregate.point(better.scores),
                    **_limits("ratio", comparison and comparison.ratio),
                    "p": comparison.p if comparison else np.nan,
                    **_nearer(worse, better, confidence),
                }
            )
    columns = ["variant", "against", "flagged", "ratio", "ratio_low", "ratio_high", "p"]
    table = pd.DataFrame(rows, columns=[*columns, "p_beats", "p_beats_low", "p_beats_high"])
    table.insert(len(columns), "p_bh", adjust(stopping.p(table["p"]), "fdr_bh"))
    return table
