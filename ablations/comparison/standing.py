"""Where variants stand at a look: which of them have reached what `--until` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablations.comparison.metrics import find_metric
from ablations.comparison.scored import estimators, find_estimator
from ablations.comparison.spelling import with_interval
from ablations.comparison.stopping import stopping
from ablations.comparison.table import comparison_table
from ablations.records.results import StudyResults, VariantResults
from ablations.study.until import Target

CLEAR = ("better", "worse", "equivalent")  # verdicts that end a search for one
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Standing:
    """A variant at a look, its MSE against the study's reference on the split with most images."""

    variant: str
    n_seeds: int
    ratio: str  # with its interval
    percent: float  # from the ratio to its farther limit; NaN without an interval
    verdict: str
    reached: bool

    def __str__(self) -> str:
        width = "no interval" if np.isnan(self.percent) else f"within {self.percent:.2g}%"
        end = "reached" if self.reached else "not reached"
        return f"{self.variant}: {end} with {self.n_seeds} seeds (ratio {self.ratio}, {width}; {self.verdict})"


def standings(
    results: StudyResults, targets: Iterable[Target], seeds: Mapping[str, tuple[int, ...]]
) -> list[Standing]:
    """Where each variant that a target concerns stands on its first `seeds`, all of which have been trained.

    Those that cannot be evaluated on the split stand nowhere, and more seeds would not help them.
    Other variants are in the comparison, and in its family of tests, with all that they have.
    """
    full = results.split(results.largest_split)
    cut = [_first(v, seeds[v.name]) if v.name in seeds else v for v in full.variants]
    split = replace(full, variants=tuple(cut))
    known = estimators(split, "mse")
    table = comparison_table(
        known,
        find_estimator(results.study.against, known, "against"),
        {},
        find_metric("mse"),
        results.study.margin,
        CONFIDENCE,
        stopping(results.looks, map(len, (v.seeds for v in split.variants))),
    )
    rows = {row["variant"]: row for row in table.to_dict("records")}
    found = {name: [t for t in targets if t.concerns(name)] for name in seeds}
    return [
        _standing(rows[name], len(seeds[name]), own)
        for name, own in found.items()
        if own and name in rows
    ]


def _first(variant: VariantResults, seeds: tuple[int, ...]) -> VariantResults:
    chosen = np.isin(variant.seeds, seeds)
    status = tuple(s for s, kept in zip(variant.status, chosen, strict=True) if kept)
    return replace(
        variant,
        seeds=variant.seeds[chosen],
        status=status,
        predictions=variant.predictions[chosen],
    )


def _standing(row: Mapping[Any, Any], n_seeds: int, targets: Iterable[Target]) -> Standing:
    percent = 100 * (float(row["ratio_high"] / row["ratio"]) - 1)
    clear = row["verdict"] in CLEAR
    reached = all(clear if t.percent is None else percent <= t.percent for t in targets)
    ratio = with_interval(row["ratio"], row["ratio_low"], row["ratio_high"])
    return Standing(row["variant"], n_seeds, ratio, percent, str(row["verdict"]), reached)
