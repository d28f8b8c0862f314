"""A study's report as one HTML file: sentences, tables, figures, failures, provenance and methods.

Everything in it was computed elsewhere (`ablations.comparison`, `ablations.report.plots`); here it is only laid out.
The file needs no other file and no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from markupsafe import Markup

from ablations.comparison.last_epochs import WORDS, last_epochs, last_epochs_display
from ablations.comparison.reproducibility import reproducibility
from ablations.comparison.spelling import number
from ablations.comparison.study_comparison import StudyComparison
from ablations.comparison.wording import importance_display
from ablations.records.files import write_text
from ablations.records.results import StudyResults
from ablations.report.environment import template
from ablations.report.plots import figure_names
from ablations.report.plots.style import (
    BAND,
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    TRACK,
    VERMILION,
)

# The colours of the figures become those of the page, which follow the reader's light or dark mode.
CSS_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    TRACK: "var(--track)",
    GRID: "var(--grid)",
    BAND: "var(--band)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    VERMILION: "var(--vermilion)",
    PURPLE: "var(--purple)",
}
SVG_TITLE = "{http://www.w3.org/2000/svg}title"
SVG_DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"
KEY_SHOWN = 10  # characters of a cell's key
SENTENCES_SHOWN = 8  # more of them are folded away
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


@dataclass(frozen=True)
class InlineFigure:
    """A figure to stand in the page: its SVG, and what it shows in words for those who cannot see it."""

    name: str
    title: str
    description: str
    svg: Markup


def write_report(
    results: StudyResults,
    comparisons: Mapping[str, StudyComparison],
    figures: Path,
    path: Path,
    *,
    command: str,
) -> Path:
    """Write the report to `path` and return it.

    `comparisons` has one entry an evaluation split, `figures` is the directory that `plots.write_figures`
    wrote (figures missing from it are left out), `command` is the command line that made the results.
    """
    cells = results.cells
    failed = cells[cells["status"] != "ok"]
    variants = list(dict.fromkeys(cells["variant"]))
    ends = last_epochs(results.curves)
    drawn = {
        name: inline_figure(figures / f"{name}.svg")
        for name in figure_names(results)
        if (figures / f"{name}.svg").is_file()
    }
    # The answer comes first: that of most images, whose intervals are the best.
    by_size = sorted(comparisons.values(), key=lambda comparison: -comparison.n_images)
    sections = [
        _section(results, comparison, drawn.pop(f"mse_{comparison.split}", None))
        for comparison in by_size
    ]
    page = template("report.html.j2").render(
        results=results,
        command=command,
        reproducibility=reproducibility(results),
        n_ok=len(cells) - len(failed),
        n_variants=len(variants),
        seeds=seed_counts(cells),
        sections=sections,
        sentences_shown=SENTENCES_SHOWN,
        figures=list(drawn.values()),
        failures=cell_table(results, failed, "Cells that failed") if len(failed) else None,
        cells=cell_table(results, cells, "All cells"),
        last_epochs=text_table(last_epochs_display(ends), "The last epochs") if len(ends) else None,
        last_epochs_words=WORDS,
        facts={name: facts(value) for name, value in results.provenance.items()},
        protocol={name: facts(value) for name, value in asdict(results.study.protocol).items()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return path


def seed_counts(cells: pd.DataFrame) -> str:
    """Cells a variant: `5`, or `3 to 5` where variants differ."""
    counts = cells.groupby("variant").size()
    if counts.empty:
        return "0"
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"


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


def inline_figure(path: Path) -> InlineFigure:
    """An SVG file of `ablations.report.plots`, made fit to stand in a page with others, in the page's colours."""
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    title = root.findtext(SVG_TITLE, path.stem)
    description = root.findtext(SVG_DESCRIPTION, "")
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<title>.*?</title>", "", svg, count=1, flags=re.DOTALL)
    # Ids are unique in a file only, and a page may hold an id once.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", svg)
    for colour, variable in CSS_COLOURS.items():
        svg = svg.replace(colour, variable)
    label = Markup('<svg role="img" aria-label="{}. {}"').format(title, description)
    return InlineFigure(path.stem, title, description, label + Markup(svg.removeprefix("<svg")))


def _section(
    results: StudyResults, comparison: StudyComparison, figure: InlineFigure | None
) -> dict[str, Any]:
    """What the page says of one evaluation split."""
    table = comparison.table
    words = comparison.metric.words
    images = f"{comparison.n_images:,} {comparison.metric.items}"
    caption = f"{words} on {comparison.split} ({images}), ratio to {comparison.reference}"
    importance = None
    if comparison.importance is not None:
        shown = importance_display(comparison.importance.table)
        importance = text_table(shown, f"Factor importance on {comparison.split}")
    variants = table.loc[table["kind"] == "variant", "variant"]
    return {
        "split": comparison.split,
        "images": images,
        "sentences": [comparison.sentence(variant) for variant in variants],
        "table": _comparison_table(results, comparison, caption),
        "figure": figure,
        "notes": [*([comparison.note] if comparison.note else []), *comparison.notes],
        "importance": importance,
        "importance_note": comparison.importance_note,
        "methods": comparison.methods,
    }


def _comparison_table(results: StudyResults, comparison: StudyComparison, caption: str) -> Table:
    """The comparison as a table that readers can sort, filter and narrow."""
    table = comparison.table
    levels = {
        variant.name: {factor: str(variant.levels[factor]) for factor in results.study.factors}
        for variant in results.study.variants
    }
    display = comparison.display(wide=True)
    return replace(
        text_table(display, caption),
        name=comparison.split,
        essential=tuple(comparison.display().columns),
        factors=results.study.factors,
        levels=tuple(levels.get(name, {}) for name in table["variant"]),
    )
