"""The page that sets two runs side by side; every number on it is of `ablations.comparison.two_runs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.comparison.scored import estimators
from ablations.comparison.two_runs import TwoRuns
from ablations.comparison.wording import YARDSTICK_LINES
from ablations.records.files import write_text
from ablations.records.results import StudyResults
from ablations.report.environment import template
from ablations.report.scale import Bar, LogAxis, bar


@dataclass(frozen=True)
class Row:
    """A pair of variants: its entries in the table, and both numbers on the axis of the page."""

    entries: tuple[str, ...]
    one: Bar
    other: Bar


def write_two_runs(found: TwoRuns, other: StudyResults, path: Path, *, command: str) -> Path:
    """Write the page to `path` and return it. `other` has the yardsticks that are drawn on its axis."""
    known = estimators(other.splits[found.split], found.metric.name)
    lines = {
        words: float(known[name].scores.mean())
        for name, words in YARDSTICK_LINES.items()
        if name in known and found.metric.aggregate == "mean"
    }
    sides = ("one", "other")
    columns = [f"value_{side}{end}" for side in sides for end in ("", "_low", "_high")]
    axis = LogAxis.over([*found.table[columns].to_numpy().ravel(), *lines.values()])
    display = found.display()
    rows = [
        Row(tuple(entries), *(_bar(axis, numbers, side) for side in sides))
        for entries, numbers in zip(
            display.to_numpy().tolist(), found.table.to_dict("records"), strict=True
        )
    ]
    page = template("two_runs.html.j2").render(
        found=found,
        headings=list(display.columns),
        rows=rows,
        lines={words: axis.at(value) for words, value in lines.items()},
        sentences=[found.sentence(row) for row in found.table.to_dict("records")],
        command=command,
    )
    write_text(path, page)
    return path


def _bar(axis: LogAxis, numbers: Mapping[Any, Any], side: str) -> Bar:
    return bar(axis, *(numbers[f"value_{side}{end}"] for end in ("", "_low", "_high")))
