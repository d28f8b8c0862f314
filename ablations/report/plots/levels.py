"""Factors and their levels as figures see them: in which order levels stand, and which colour and marker they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ablations.report.plots.style import BLUE, GREEN, MUTED, ORANGE, PURPLE

# Colour and marker of up to five levels: none is told by its colour alone. Vermilion is that of failures.
MARKS: tuple[tuple[str, str], ...] = (
    (BLUE, "o"),
    (ORANGE, "s"),
    (GREEN, "^"),
    (PURPLE, "D"),
    (MUTED, "P"),
)


@dataclass(frozen=True)
class FactorKey:
    """A factor whose levels have a colour and a marker each."""

    factor: str
    levels: Sequence[Any]  # in the order of the legend
    of: Mapping[str, int]  # variant -> position of its level

    def mark(self, variant: str) -> tuple[str, str]:
        """Colour and marker."""
        return MARKS[self.of[variant]]


def ordered(column: pd.Series[Any]) -> list[Any]:
    """A factor's levels: numbers from the least, others as they come."""
    found = list(dict.fromkeys(column))
    numeric = all(isinstance(x, int | float) and not isinstance(x, bool) for x in found)
    return sorted(found) if numeric else found


def varied(levels: pd.DataFrame) -> list[str]:
    """Factors with two levels or more."""
    return [str(factor) for factor in levels if levels[factor].nunique() > 1]


def factor_key(levels: pd.DataFrame, factor: str) -> FactorKey:
    """Colours for a factor of at most as many levels as there are marks."""
    found = ordered(levels[factor])
    of = {str(name): found.index(level) for name, level in levels[factor].items()}
    return FactorKey(factor, found, of)


def telling_factor(levels: pd.DataFrame, errors: Sequence[float]) -> FactorKey | None:
    """The factor, of those few enough for colours, whose levels' mean log errors vary most.

    None for fewer than two factors: then a variant's name is its level.
    """
    factors = varied(levels)
    few = [factor for factor in factors if levels[factor].nunique() <= len(MARKS)]
    if len(factors) < 2 or not few:
        return None
    log = pd.Series(np.log(np.asarray(errors, dtype=np.float64)), index=levels.index)

    def between(factor: str) -> float:
        means = log.groupby(levels[factor]).transform("mean")
        return float(means.var(ddof=0))

    return factor_key(levels, max(few, key=between))
