"""Which variants stand in the rows of a figure, in which order, and what colours them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ablations.comparison.scored import Estimator
from ablations.records.results import SplitResults, StudyResults
from ablations.report.plots.levels import FactorKey, telling_factor
from ablations.report.plots.ranking import Shown, shown

IN_ORDER = 8  # variants that stand in the study's order; more are sorted by their error
MOST = 100  # variants of which all are drawn
ENDS = 30, 15  # best and worst that are drawn of more


@dataclass(frozen=True)
class Layout:
    """The variants of a figure's rows, and the factor whose levels colour them, if any."""

    shown: Shown
    key: FactorKey | None


def layout_of(
    results: StudyResults, split: SplitResults, metric: str, known: Mapping[str, Estimator]
) -> Layout:
    """Rows by the metric, whose `estimators` are `known`."""
    chosen = shown(split, known, metric, in_order=IN_ORDER, most=MOST, ends=ENDS)
    if len(split.variants) <= IN_ORDER:
        return Layout(chosen, None)
    levels = level_table(results, split)
    key = telling_factor(levels, [float(known[name].scores.mean()) for name in levels.index])
    return Layout(chosen, key)


def level_table(results: StudyResults, split: SplitResults) -> pd.DataFrame:
    """A row a variant of the split, a column a factor of the study."""
    factors = results.study.factors
    return pd.DataFrame(
        [{factor: variant.levels[factor] for factor in factors} for variant in split.variants],
        index=[variant.name for variant in split.variants],
    )
