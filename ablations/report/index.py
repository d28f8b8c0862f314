"""The page over all studies of a folder of results, made from the tables that their runs have left there.

Nothing is computed anew: a study whose tables are missing, or older than its cells, is told with the command that
writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from ablations.comparison.metrics import Metric, find_metric
from ablations.comparison.spelling import with_interval
from ablations.comparison.wording import YARDSTICK_LINES, sentence, words_for
from ablations.records.database import StoreError
from ablations.records.files import write_text
from ablations.records.folder import STUDY_FILE, find_study, study_names
from ablations.records.state import StudyState, study_state
from ablations.report.environment import template
from ablations.report.scale import Bar, LogAxis, bar
from ablations.study.study import StudyError
from linefit.images import of_lab_prior

INDEX_FILE = "index.html"
BEST = 5  # variants shown of each study
# File of a study -> what its link says.
LINKS = {
    "report.html": "report",
    "summary.md": "summary",
    "cells.csv": "cells",
    "predictions.parquet": "predictions",
    STUDY_FILE: "study file",
}


@dataclass(frozen=True)
class Table:
    """A study's table of comparison on its largest split, as it was written."""

    rows: pd.DataFrame  # variants by their error, then yardsticks
    metric: Metric
    split: str
    n_images: int
    against: str
    confidence: float

    @property
    def variants(self) -> pd.DataFrame:
        return self.rows[self.rows["kind"] == "variant"]

    @property
    def reference(self) -> str:
        kinds = dict(zip(self.rows["variant"], self.rows["kind"], strict=True))
        return words_for(self.against, kinds[self.against] == "variant")

    def sentence(self, row: Mapping[Any, Any]) -> str:
        return sentence(row, self.reference, self.metric, self.n_images, self.confidence)

    def lines(self) -> dict[str, float]:
        """The yardsticks that are drawn on an axis."""
        values = dict(zip(self.rows["variant"], self.rows[self.metric.column], strict=True))
        return {words: values[name] for name, words in YARDSTICK_LINES.items() if name in values}


@dataclass(frozen=True)
class Row:
    """One of the best variants of a study."""

    name: str
    ok: str
    value: str
    ratio: str
    verdict: str
    bar: Bar


@dataclass(frozen=True)
class Entry:
    """What the page says of one study."""

    name: str
    title: str
    state: str
    alarming: bool  # cells failed, or nothing can be read
    notes: Sequence[str] = ()  # with `code`
    links: Sequence[tuple[str, str]] = ()  # words, address
    sentence: str = ""
    images: str = ""
    headings: Sequence[str] = ()
    best: Sequence[Row] = ()
    shown: str = ""  # `the best 5 of 300 variants`
    lines: Mapping[str, float] = field(default_factory=dict)  # words -> per cent of the axis


def write_index(results_dir: Path) -> Path:
    """Write `index.html` over the studies that have results there, and return its path.

    A study that cannot be read is told on the page and hides no other.
    """
    names = [
        name for name in study_names(results_dir) if (results_dir / name / STUDY_FILE).is_file()
    ]
    tables = {name: read_table(results_dir / name) for name in names}
    axis = LogAxis.over(value for table in tables.values() if table for value in _extent(table))
    page = template("index.html.j2").render(
        entries=[_entry(name, results_dir, tables[name], axis) for name in names]
    )
    path = results_dir / INDEX_FILE
    write_text(path, page)
    return path


def read_table(directory: Path) -> Table | None:
    """The comparison that a run has written, of the split that speaks first; None where there is none."""
    found = []
    for path in sorted(directory.glob("compare_*.csv")):
        rows = pd.read_csv(path, keep_default_na=False, na_values=[""])
        if not len(rows) or rows["metric"].iloc[0] != "mse":
            continue
        first = rows.iloc[0]
        rows = rows.astype({"n_ok": "Int64", "n_seeds": "Int64"})
        metric, size = find_metric(first["metric"]), int(first["n_images"])
        confidence = float(first["confidence"])
        found.append(Table(rows, metric, first["split"], size, first["against"], confidence))
    return max(found, key=lambda table: (of_lab_prior(table.split), table.n_images), default=None)


def _extent(table: Table) -> Iterator[float]:
    """Numbers that have to be on the axis."""
    yield from table.lines().values()
    for column in (table.metric.column, "low", "high"):
        yield from table.variants[column].head(BEST)


def _entry(name: str, results_dir: Path, table: Table | None, axis: LogAxis) -> Entry:
    try:
        study = find_study(name, results_dir)
        state = study_state(study, results_dir)
    except (StudyError, StoreError) as error:
        return Entry(name, name, "cannot be read", True, [str(error)])
    directory = results_dir / name
    links = [
        (words, f"{quote(name)}/{file}")
        for file, words in LINKS.items()
        if (directory / file).is_file()
    ]
    entry = Entry(name, study.title, _words(state), state.failed > 0, _notes(state, table))
    if table is None or not len(table.variants):
        return replace(entry, links=links)
    interval = f"[{table.confidence:.0%} CI]"
    variants = table.variants
    return replace(
        entry,
        links=links,
        sentence=table.sentence(variants.iloc[0].to_dict()),
        images=f"{table.n_images:,} {table.metric.items} of {table.split}",
        headings=(
            "variant",
            "ok",
            f"{table.metric.words} {interval}",
            f"ratio to {table.reference} {interval}",
            "verdict",
        ),
        best=[_row(row, table, axis) for row in variants.head(BEST).to_dict("records")],
        shown=_shown(len(variants)),
        lines={words: axis.at(value) for words, value in table.lines().items()},
    )


def _row(row: Mapping[Any, Any], table: Table, axis: LogAxis) -> Row:
    column = table.metric.column
    return Row(
        row["variant"],
        f"{row['n_ok']}/{row['n_seeds']}",
        with_interval(row[column], row["low"], row["high"]),
        with_interval(row["ratio"], row["ratio_low"], row["ratio_high"]),
        row["verdict"],
        bar(axis, row[column], row["low"], row["high"]),
    )


def _shown(count: int) -> str:
    if count > BEST:
        return f"The best {BEST} of {count:,} variants"
    return f"All {count} variants" if count > 1 else "The one variant"


def _words(state: StudyState) -> str:
    """`15 cells, complete`, or how many are there, failed and missing."""
    if state.done == state.cells:
        return f"{state.cells:,} cells, all ok"
    parts = [f"{state.done:,} of {state.cells:,} cells ok"]
    counts = {"failed": state.failed, "stale": state.stale, "to do": state.todo}
    return ", ".join([*parts, *(f"{count:,} {word}" for word, count in counts.items() if count)])


def _notes(state: StudyState, table: Table | None) -> list[str]:
    """What a reader has to know of how the tables stand to the cells."""
    there = state.done + state.failed
    if not there:
        return ["Nothing of it has been trained yet."]
    again = f"`python -m ablations report {state.study.name}` writes"
    if table is None:
        return [f"No comparison has been written yet: {again} one."]
    shown = int(table.variants["n_seeds"].sum())
    return [f"Written from {shown:,} of {there:,} cells: {again} it anew."] if shown < there else []
