"""Which variants of two runs are held against each other, on which images, and a row of numbers of each pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.metrics import Metric
from ablations.comparison.scored import Estimator
from ablations.comparison.spelling import listed
from ablations.records.results import SplitResults, StudyResults, VariantResults, by_weight
from ablations.statistics import Comparison
from ablations.study.problems import nearest

ENDS = ("low", "high")


@dataclass(frozen=True)
class Side:
    """A run and what it is called; `variant` if one variant of it is meant."""

    label: str
    results: StudyResults
    variant: str | None = None


def shared_split(one: Side, other: Side, split: str | None) -> tuple[SplitResults, SplitResults]:
    """The split to compare on, of either run. Raises ValueError where there is none, or its images differ."""
    both = [name for name in one.results.splits if name in other.results.splits]
    if split is not None:
        chosen = one.results.split(split).name, other.results.split(split).name
    elif both:
        chosen = (by_weight({name: one.results.sizes[name] for name in both})[0],) * 2
    else:
        raise ValueError(
            f"{one.label} is evaluated on {listed(one.results.splits)}, {other.label} on "
            f"{listed(other.results.splits)}: two runs are compared on the same images"
        )
    mine, theirs = one.results.splits[chosen[0]], other.results.splits[chosen[1]]
    if not np.array_equal(mine.params, theirs.params):
        raise ValueError(f"{one.label} and {other.label} have other images in split {mine.name}")
    return mine, theirs


def pairs_of(
    one: Side, other: Side, data: tuple[SplitResults, SplitResults]
) -> list[tuple[VariantResults, VariantResults]]:
    """Which variants are compared: those of the same name, or the one that a side names with that of the other."""
    by_name = [{variant.name: variant for variant in split.variants} for split in data]
    named = [one.variant or other.variant, other.variant or one.variant]
    if named[0] and named[1]:
        return [(_find(named[0], by_name[0], one), _find(named[1], by_name[1], other))]
    shared = [
        (variant, by_name[1][name]) for name, variant in by_name[0].items() if name in by_name[1]
    ]
    for side, variants in zip((one, other), by_name, strict=True):
        if not variants:
            raise ValueError(f"{side.label}: no variant can be evaluated on {data[0].name}")
    if not shared:
        raise ValueError(
            f"{one.label} and {other.label} have no variant in common; name one of each, as in "
            f"{one.label}:{next(iter(by_name[0]))} {other.label}:{next(iter(by_name[1]))}"
        )
    return shared


def _find(name: str, variants: Mapping[str, VariantResults], side: Side) -> VariantResults:
    if name in variants:
        return variants[name]
    hint = nearest(name, variants)
    guess = f"; did you mean {hint!r}?" if hint else ""
    raise ValueError(f"{side.label}: variant {name!r} is not one of {', '.join(variants)}{guess}")


def pair_row(
    one: VariantResults,
    other: VariantResults,
    scores: Estimator,
    others: Estimator,
    comparison: Comparison | None,
    metric: Metric,
    margin: float,
    confidence: float,
) -> dict[str, object]:
    aggregate = AGGREGATES[metric.aggregate]
    values = {"one": aggregate.point(scores.scores), "other": aggregate.point(others.scores)}
    row: dict[str, object] = {"one": one.name, "other": other.name}
    for side, estimator in (("one", scores), ("other", others)):
        interval = aggregate.interval(estimator.scores, confidence)
        row |= {
            f"n_ok_{side}": int(estimator.ok.sum()),
            f"n_seeds_{side}": len(estimator.ok),
            f"value_{side}": values[side],
            f"value_{side}_low": interval.low if interval else np.nan,
            f"value_{side}_high": interval.high if interval else np.nan,
        }
    row |= {"same_seeds": same_seeds(one, other), "ratio": values["one"] / values["other"]}
    row |= {
        f"ratio_{end}": getattr(comparison.ratio, end) if comparison else np.nan for end in ENDS
    }
    row |= {"difference": values["one"] - values["other"]}
    row |= {
        f"difference_{end}": getattr(comparison.difference, end) if comparison else np.nan
        for end in ENDS
    }
    return row | {
        "p": comparison.p if comparison else np.nan,
        "p_different": comparison.p_different(margin) if comparison else np.nan,
    }


def same_seeds(one: VariantResults, other: VariantResults) -> int:
    """How many seeds predict the same in both, to the last bit."""
    theirs = {
        int(s): p for s, p, ok in zip(other.seeds, other.predictions, other.ok, strict=True) if ok
    }
    return sum(
        bool(ok) and int(seed) in theirs and np.array_equal(lines, theirs[int(seed)])
        for seed, lines, ok in zip(one.seeds, one.predictions, one.ok, strict=True)
    )


def identical(row: Mapping[Any, Any]) -> bool:
    return bool(row["same_seeds"] == row["n_seeds_one"] == row["n_seeds_other"])
