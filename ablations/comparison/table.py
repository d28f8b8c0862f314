"""The numbers of a comparison: one row an estimator, and which figure stands in which column.

How they are inferred is in `ablations.statistics`, how they are worded in `wording`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.metrics import METRICS, ErrorArray
from ablations.comparison.scored import FLOOR, Estimator
from ablations.statistics import (
    Comparison,
    adjust,
    convergence,
    share_nearer,
)

# Simulated 95% intervals of a comparison with a yardstick cover .85 to .93 with 5,000 images and .94 to .97 with
# 50,000 (results/statistics/simulation.md): below this many in between, no promise is made. A few images in a
# thousand hold most of the error of least squares and of the floor; a sample that lacks its share of them looks
# tame, so nothing in the sample itself can tell. Ratios of two variants do not suffer from it.
ENOUGH_IMAGES = 20_000


def verdict(comparison: Comparison | None, p_adjusted: float) -> str:
    """What may be said of an estimator against the reference, in words.

    `better` and `worse` by the adjusted p at the comparison's confidence, the two about the margin by the
    ratio's own intervals. Within the margin comes before worse: it is the stronger claim.
    """
    if comparison is None:
        return "too few seeds for an interval"
    different = p_adjusted < 1 - comparison.confidence
    if different and comparison.ratio.value < 1:
        return "better"
    if comparison.equivalent:
        return "equivalent"
    if comparison.non_inferior:
        return f"non-inferior at {comparison.margin:g}"
    if different:
        return "worse"
    return f"not distinguishable: {_remedy(comparison)}"


def _remedy(comparison: Comparison) -> str:
    """What would tell the two apart, if they differ as much as they seem to."""
    if not comparison.n_seeds or comparison.ratio.value == 1:
        return "needs more images"
    plan = comparison.seeds_needed()
    if plan.n_seeds is None:
        return "needs more images"
    # A run of the needed size can still miss by bad luck or by the adjustment: ask for one seed more.
    return f"needs about {max(plan.n_seeds, max(comparison.n_seeds) + 1)} seeds"


def worst_share(errors: ErrorArray) -> float:
    """Share of the summed error that the worst 1% of images hold (of their means over seeds)."""
    by_image = np.sort(errors.mean(axis=0) if errors.ndim == 2 else errors)
    total = float(by_image.sum())
    worst = by_image[-max(round(len(by_image) / 100), 1) :]
    return float(worst.sum()) / total if total > 0 else np.nan


def _limits(name: str, interval: object) -> dict[str, float]:
    """Columns `name_low` and `name_high`; NaN where there is no interval."""
    return {f"{name}_{end}": getattr(interval, end, np.nan) for end in ("low", "high")}


def _row(
    estimator: Estimator,
    reference: Estimator,
    comparison: Comparison | None,
    floor: Estimator | None,
    metric: str,
    margin: float,
    confidence: float,
) -> dict[str, object]:
    """One row of the table but for what depends on the other rows."""
    errors, against = estimator.errors, reference.errors
    column, aggregate = METRICS[metric].column, AGGREGATES[METRICS[metric].aggregate]
    of_means = METRICS[metric].aggregate == "mean"
    value, at = aggregate.point(errors), aggregate.point(against)
    is_reference = estimator is reference
    row: dict[str, object] = {
        "variant": estimator.name,
        "kind": "variant" if estimator.is_variant else "yardstick",
        "flagged": estimator.flagged,
        "n_ok": int(estimator.ok.sum()) if estimator.is_variant else pd.NA,
        "n_seeds": len(estimator.ok) if estimator.is_variant else pd.NA,
        **_limits("ok", convergence(estimator.ok) if estimator.is_variant else None),
        column: value,
        **{
            k.removeprefix("_"): v
            for k, v in _limits("", aggregate.interval(errors, confidence)).items()
        },
        **{name: mean for name, mean in estimator.means.items() if name != column},
        "worst_1_percent_share": worst_share(errors) if of_means else np.nan,
        "ratio": value / at,
        **_limits("ratio", comparison and comparison.ratio),
        "difference": value - at,
        **_limits("difference", comparison and comparison.difference),
        "p": comparison.p_ratio if comparison else np.nan,
        "p_difference": comparison.p_difference if comparison else np.nan,
        "p_beats": np.nan if is_reference else share_nearer(errors, against),
        **_limits("p_beats", comparison and comparison.p_beats),
        "minimum_detectable_ratio": comparison.minimum_detectable_ratio if comparison else np.nan,
        "image_df": comparison.components.image_df if comparison else np.nan,
        "few_images": of_means
        and not is_reference
        and len(against.T) < ENOUGH_IMAGES
        and not (estimator.is_variant and reference.is_variant),
    }
    to_floor = None
    if floor is not None and estimator is not floor:
        to_floor = aggregate.compare(errors, floor.errors, margin, confidence)
    row["ratio_to_floor"] = value / aggregate.point(floor.errors) if floor else np.nan
    row |= _limits("ratio_to_floor", to_floor and to_floor.ratio)
    return row | _given_convergence(estimator, reference, metric, margin, confidence)


def _given_convergence(
    estimator: Estimator, reference: Estimator, metric: str, margin: float, confidence: float
) -> dict[str, float]:
    """The metric and the ratio of the cells that are ok alone."""
    errors, against = estimator.converged, reference.converged
    aggregate = AGGREGATES[METRICS[metric].aggregate]
    column = f"{METRICS[metric].column}_given_convergence"
    interval = ratio = None
    value = aggregate.point(errors) if len(errors) else np.nan
    if len(errors) and len(against):
        interval = aggregate.interval(errors, confidence)
        if estimator is not reference:
            ratio = aggregate.compare(errors, against, margin, confidence)
    return {
        column: value,
        **_limits(column, interval),
        "ratio_given_convergence": value / aggregate.point(against) if len(against) else np.nan,
        **_limits("ratio_given_convergence", ratio and ratio.ratio),
    }


def comparison_table(
    known: Mapping[str, Estimator],
    reference: Estimator,
    published: Mapping[str, float],
    metric: str,
    margin: float,
    confidence: float,
) -> pd.DataFrame:
    """One row an estimator: variants by their error, then yardsticks by theirs.

    `p_holm` adjusts `p` (of the ratio) over the family of all variants that were tested against the reference.
    """
    column, aggregate = METRICS[metric].column, AGGREGATES[METRICS[metric].aggregate]
    compared = {
        e.name: None
        if e is reference
        else aggregate.compare(e.errors, reference.errors, margin, confidence)
        for e in known.values()
    }
    floor = known.get(FLOOR)
    table = pd.DataFrame(
        [
            _row(e, reference, compared[e.name], floor, metric, margin, confidence)
            for e in known.values()
        ]
    ).astype({"n_ok": "Int64", "n_seeds": "Int64"})
    family = table["kind"].eq("variant")
    holm = adjust(table["p"].where(family), "holm")
    table.insert(list(table.columns).index("p_difference"), "p_holm", holm)
    verdicts = [
        "reference"
        if name == reference.name
        else verdict(compared[name], p if np.isnan(adjusted) else adjusted)
        for name, p, adjusted in zip(table["variant"], table["p"], holm, strict=True)
    ]
    table.insert(1, "verdict", verdicts)
    table["published"] = [published.get(name, np.nan) for name in table["variant"]]
    table = table.sort_values(["kind", column], ignore_index=True)
    rank = table[column].where(table["kind"].eq("variant")).rank(method="min").astype("Int64")
    table.insert(0, "rank", rank)
    return table


def pairs_table(
    known: Sequence[Estimator], metric: str, margin: float, confidence: float
) -> pd.DataFrame:
    """Every pair of variants, explored: `p` and its Benjamini-Hochberg adjustment `p_bh`, best first."""
    rows = []
    aggregate = AGGREGATES[METRICS[metric].aggregate]
    variants = sorted(
        (estimator for estimator in known if estimator.is_variant),
        key=lambda estimator: aggregate.point(estimator.errors),
    )
    for i, better in enumerate(variants):
        for worse in variants[i + 1 :]:
            comparison = aggregate.compare(worse.errors, better.errors, margin, confidence)
            rows.append(
                {
                    "variant": worse.name,
                    "against": better.name,
                    "flagged": worse.flagged or better.flagged,
                    "ratio": aggregate.point(worse.errors) / aggregate.point(better.errors),
                    **_limits("ratio", comparison and comparison.ratio),
                    "p": comparison.p_ratio if comparison else np.nan,
                    "p_beats": share_nearer(worse.errors, better.errors),
                    **_limits("p_beats", comparison and comparison.p_beats),
                }
            )
    columns = ["variant", "against", "flagged", "ratio", "ratio_low", "ratio_high", "p"]
    table = pd.DataFrame(rows, columns=[*columns, "p_beats", "p_beats_low", "p_beats_high"])
    table.insert(len(columns), "p_bh", adjust(table["p"], "fdr_bh"))
    return table
