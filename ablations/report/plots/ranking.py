"""Which variants a figure draws where there are more than it has room for, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.metrics import find_metric
from ablations.comparison.scored import Estimator
from ablations.records.results import SplitResults


@dataclass(frozen=True)
class Shown:
    """Variants of a split, `best` of the best and `worst` of the worst where not all are drawn."""

    names: tuple[str, ...]  # in the order in which they are drawn
    best: int
    worst: int
    of: int
    split: str

    @property
    def note(self) -> str:
        """What is not drawn and where it is; empty where everything is drawn."""
        if len(self.names) == self.of:
            return ""
        return (
            f"Of {self.of:,} variants the {self.best} best and the {self.worst} worst are drawn, best first; the other "
            f"{self.of - len(self.names):,} stand in the table and in compare_{self.split}.csv."
        )


def ranked(split: SplitResults, known: Mapping[str, Estimator], metric: str = "mse") -> list[str]:
    """The variants' names, the one with the least error first, failed cells scored as the constant predictor."""
    point = AGGREGATES[find_metric(metric).aggregate].point
    at = {variant.name: point(known[variant.name].scores) for variant in split.variants}
    return sorted(at, key=at.__getitem__)


def shown(
    split: SplitResults,
    known: Mapping[str, Estimator],
    metric: str,
    *,
    in_order: int,
    most: int,
    ends: tuple[int, int],
) -> Shown:
    """All variants in the study's order where there are at most `in_order`, else best first; of more than `most` only
    the `ends`, so many best and so many worst.
    """
    names = [variant.name for variant in split.variants]
    n = len(names)
    if n > in_order:
        names = ranked(split, known, metric)
    best, worst = ends if n > most else (n, 0)
    return Shown((*names[:best], *names[n - worst :]), best, worst, n, split.name)


def restricted(split: SplitResults, names: Sequence[str]) -> SplitResults:
    """The split with these variants alone, in their order."""
    by_name = {variant.name: variant for variant in split.variants}
    return replace(split, variants=tuple(by_name[name] for name in names))


def spread(names: Sequence[str], most: int) -> list[str]:
    """At most `most` of the ranked names, evenly from the first to the last."""
    if len(names) <= most:
        return list(names)
    return [names[round(i)] for i in np.linspace(0, len(names) - 1, most)]
