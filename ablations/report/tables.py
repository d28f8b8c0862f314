"""Tables as pages show them: text, with what a reader sorts and filters by. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ablations.comparison.spelling import number
from ablations.comparison.study_comparison import StudyComparison
from ablations.records.results import StudyResults

KEY_SHOWN = 10  # characters of a cell's key
MANY = 40  # rows, of which more scroll under their heading
NOTHING = "–"
# Such as `1.9 [1.6, 2.2]`, `<0.001`, `3%` and nothing.
NUMERIC = rf"[-<]?\d[\d,.e+-]*%?(?: \[.*\])?$|{NOTHING}?$"


@dataclass(frozen=True)
class Table:
    """A table as text; numeric columns are set flush right, the entries of column `heading` name the rows.

    One with a `name` can be sorted, filtered by text and by the levels of each row's factors, and shows the
    `essential` columns at first.
    """

    caption: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[str]]
    heading: int
    name: str = ""
    essential: Sequence[str] = ()
    factors: Sequence[str] = ()
    levels: Sequence[Mapping[str, str]] = ()  # of each row

    @property
    def many(self) -> bool:
        """Whether it has more rows than stay in sight: they scroll under their heading."""
        return len(self.rows) > MANY


def text_table(frame: pd.DataFrame, caption: str) -> Table:
    """The table of a frame of strings; a column of numbers, whatever stands after them, is numeric."""
    numeric = [frame[name].str.match(NUMERIC).all() for name in frame]
    rows = frame.to_numpy().tolist()
    names = list(frame.columns)
    heading = names.index("estimator") if "estimator" in names else 0
    return Table(caption, names, [bool(flag) for flag in numeric], rows, heading)


def cell_table(results: StudyResults, cells: pd.DataFrame, caption: str) -> Table:
    """The table of some cells, keys cut short, without the factors: they are in the variant's name."""
    shown = cells.drop(columns=[*results.study.factors], errors="ignore")
    shown = shown.assign(key=shown["key"].str[:KEY_SHOWN])
    texts = {str(name).replace("_", " "): [text_of(x) for x in shown[name]] for name in shown}
    return text_table(pd.DataFrame(texts, dtype=str), caption)


def text_of(value: Any) -> str:
    """A table's entry as text."""
    if value is None or value is pd.NA or value is pd.NaT:
        return NOTHING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}" if value >= 10_000 else str(value)
    if isinstance(value, float | np.floating):
        return NOTHING if np.isnan(value) else number(float(value))
    return str(value)


def facts(value: Any) -> str:
    """A value of the provenance or the protocol as one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {facts(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(facts(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else text_of(value)


def comparison_table(
    comparison: StudyComparison, levels: Mapping[str, Mapping[str, str]], factors: Sequence[str]
) -> Table:
    """The comparison as a table that readers can sort, filter and narrow; `levels`: variant -> factor -> level."""
    caption = (
        f"{comparison.metric.words} on {comparison.split} ({images(comparison)}), ratio to "
        f"{comparison.reference}"
    )
    return replace(
        text_table(comparison.display(wide=True), caption),
        name=comparison.split,
        essential=tuple(comparison.display().columns),
        factors=factors,
        levels=tuple(levels.get(name, {}) for name in comparison.table["variant"]),
    )


def images(comparison: StudyComparison) -> str:
    """`50,000 images`."""
    return f"{comparison.n_images:,} {comparison.metric.items}"
