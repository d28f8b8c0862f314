"""The error of every variant of a grid, a panel a level of one factor: rows are the levels of the others, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.spelling import listed
from ablations.records.results import SplitResults, StudyResults
from ablations.report.plots.flags import YARDSTICK_LINES, draw_line, yardstick_words
from ablations.report.plots.layout import IN_ORDER, level_table
from ablations.report.plots.levels import MARKS, ordered, telling_factor, varied
from ablations.report.plots.ranking import restricted
from ablations.report.plots.style import (
    BAND,
    BLUE,
    FAILED,
    FEW_TICKS,
    FONT,
    GAP,
    INK,
    THEME,
    Style,
    hover,
    log_axis,
    page,
    shorten,
    text_inches,
    titled,
)
from ablations.report.plots.summary import (
    Summary,
    data_limits,
    interval_of,
    summarise,
    summary_table,
)
from linefit.known_risk import FLOOR, REFERENCE

ROW = 0.22  # inches
WIDTH, GUTTER = 8.0, 0.14  # inches of all panels and between two
NARROW, WIDE = 1.8, 3.2  # inches of a panel
LABEL = 3.4  # inches of a row's name, longer ones are shortened in the middle
HEADER, FOOTER = 0.42, 0.5
MOST_ROWS = 40
LINES = (FLOOR, REFERENCE)
SEED: Style = {
    "color": BLUE,
    "marker": "o",
    "markersize": 3.2,
    "markeredgewidth": 0,
    "alpha": 0.6,
    "linestyle": "",
}


@dataclass(frozen=True)
class Facets:
    """Variants by the level of `across` (columns) and of the factors `down` (rows)."""

    title: str
    split: SplitResults
    across: str
    columns: tuple[str, ...]
    down: tuple[str, ...]
    rows: (
        pd.DataFrame
    )  # a row a drawn variant: `column`, `row` (position), `group`, `label`; variants are the index
    n_rows: int  # of the whole grid
    summaries: tuple[Summary, ...]
    yardsticks: Mapping[str, float]

    @property
    def table(self) -> pd.DataFrame:
        """What is drawn, with the levels of each variant: see `summary_table`."""
        table = summary_table(self.summaries, {}, self.yardsticks)
        own = self.rows.rename(columns={"column": self.across})[[self.across, "group", "label"]]
        return table.join(own, on="estimator")


def facets_of(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> Facets | None:
    """None where fewer than two factors vary, for so few variants that one list is clearer, and where no factor has few
    enough levels for a panel each.

    The factor whose levels' errors differ most gives the panels, the next one groups of rows, best first. `known`: the
    split's `estimators` where they are at hand. Raises ValueError for a split that the results do not have.
    """
    data = results.split(split)
    if len(data.variants) <= IN_ORDER:
        return None
    known = known or estimators(data, "mse")
    levels = level_table(results, data)
    errors = pd.Series({str(name): float(known[str(name)].scores.mean()) for name in levels.index})
    key = telling_factor(levels, list(errors))
    if key is None:
        return None
    down = tuple(factor for factor in varied(levels) if factor != key.factor)
    second = telling_factor(levels[list(down)], list(errors)) if len(down) > 1 else None
    rows = _rows(levels, errors.map(np.log), key.factor, down, second.factor if second else None)
    kept = rows[rows["row"] < MOST_ROWS]
    names = [name for name in levels.index if name in kept.index]
    return Facets(
        results.study.title,
        data,
        key.factor,
        tuple(str(level) for level in ordered(levels[key.factor])),
        down,
        kept,
        int(rows["row"].max()) + 1,
        tuple(summarise(restricted(data, names), "mse", known=known)),
        {name: float(known[name].scores.mean()) for name in LINES if name in known},
    )


def _rows(
    levels: pd.DataFrame, logs: pd.Series, across: str, down: Sequence[str], grouped: str | None
) -> pd.DataFrame:
    """Rows by the mean log error of their groups, then by their own."""
    others = [factor for factor in down if factor != grouped]
    table = pd.DataFrame(
        {
            "column": levels[across].map(str),
            "group": levels[grouped].map(lambda level: f"{grouped} {level}") if grouped else "",
            "label": [", ".join(map(str, row)) for row in levels[others].itertuples(index=False)],
            "log": logs,
        }
    )
    table["of group"] = table.groupby("group")["log"].transform("mean")
    table["of row"] = table.groupby(["group", "label"])["log"].transform("mean")
    table = table.sort_values(["of group", "group", "of row", "label"], kind="stable")
    table["row"] = table.groupby(["group", "label"], sort=False).ngroup()
    return table[["column", "row", "group", "label"]]


def plot_facets(facets: Facets) -> Figure:
    """Every seed, and the mean with its interval, of each variant; panels share the axis of errors."""
    lines = _lines(facets)
    labels = [shorten(text, LABEL, FONT) for text, _ in lines]
    left = GAP + max(text_inches(label, weight="bold") for label in labels)
    height = ROW * len(lines)
    n = len(facets.columns)
    width = min(max(WIDTH / n, NARROW), WIDE)
    place = {row: y for y, (_, row) in enumerate(lines) if row is not None}
    limits = data_limits(facets.summaries, list(facets.yardsticks.values()))
    with mpl.rc_context(THEME):
        canvas = page(
            left + n * width + (n - 1) * GUTTER + 0.1,
            HEADER + height + FOOTER,
            title=titled(facets.title, f"MSE by {facets.across} on {facets.split.name}"),
            note=_note(facets),
            legend=_legend(facets),
        )
        for i, level in enumerate(facets.columns):
            axes = canvas.axes(left + i * (width + GUTTER), HEADER, width, height)
            log_axis(axes, "x", *limits, most=FEW_TICKS)
            axes.set_ylim(len(lines) - 0.5, -0.5)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.set_yticks(range(len(lines)), labels if i == 0 else [""] * len(lines))
            _shade(axes, lines, named=i == 0)
            for name, value in facets.yardsticks.items():
                draw_line(axes, name, value)
            _draw(axes, facets, level, place)
            axes.set_title(
                f"{facets.across}\n{shorten(level, width, FONT)}", loc="left", pad=4, size=FONT
            )
            axes.set_xlabel("MSE (log scale)")
        return canvas.figure


def _lines(facets: Facets) -> list[tuple[str, int | None]]:
    """Texts from top to bottom: headings of groups, and rows with their position in the table."""
    lines: list[tuple[str, int | None]] = []
    group = ""
    for row in facets.rows.drop_duplicates("row").to_dict("records"):
        if row["group"] != group:
            group = row["group"]
            lines.append((group, None))
        lines.append((row["label"], row["row"]))
    return lines


def _shade(axes: Axes, lines: Sequence[tuple[str, int | None]], *, named: bool) -> None:
    for y, ((text, row), label) in enumerate(zip(lines, axes.get_yticklabels(), strict=True)):
        if row is None:
            axes.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
            label.set_fontweight("bold")
        if named:
            hover(label, text)


def _draw(axes: Axes, facets: Facets, level: str, place: Mapping[int, int]) -> None:
    """The variants of a panel."""
    own = facets.rows[facets.rows["column"] == level]["row"]
    for summary in facets.summaries:
        if summary.name not in own.index:
            continue
        y = place[int(own[summary.name])]
        seeds = summary.seeds[np.isfinite(summary.seeds)]
        axes.plot(seeds, [y - 0.15] * len(seeds), **SEED, zorder=3)
        if summary.n_ok < summary.n_seeds:
            failed = {**FAILED, "markersize": 4.5, "markeredgewidth": 1.3}
            axes.plot(summary.failed_at, y - 0.15, **failed, zorder=4, clip_on=False)
        if summary.scored:
            ends = [summary.scored.low, summary.scored.high]
            axes.plot(ends, [y + 0.15] * 2, color=INK, linewidth=1.2, zorder=4)
        (mean,) = axes.plot(
            summary.scored_mean, y + 0.15, color=INK, marker="D", markersize=3, zorder=5
        )
        hover(mean, summary.words)


def _legend(facets: Facets) -> list[Line2D]:
    entries = [
        Line2D([], [], label="one seed", **SEED),
        Line2D(
            [], [], label=f"mean, {interval_of(facets.split)}", color=INK, marker="D", markersize=3
        ),
    ]
    if any(summary.n_ok < summary.n_seeds for summary in facets.summaries):
        entries.append(Line2D([], [], label="a seed or more failed", linestyle="", **FAILED))
    for name in facets.yardsticks:
        colour, dashes, width = YARDSTICK_LINES[name]
        line: Style = {"color": colour, "linestyle": dashes, "linewidth": width}
        entries.append(Line2D([], [], label=yardstick_words(name), **line))
    return entries


def _note(facets: Facets) -> str:
    split = facets.split
    grouped = " in groups by another factor," if facets.rows["group"].ne("").any() else ""
    less = facets.n_rows > MOST_ROWS
    return (
        f"A panel a level of {facets.across}, the factor whose levels' errors differ most (of those with at most"
        f" {len(MARKS)} levels); a row a combination of {listed(facets.down)},{grouped} best first, by the"
        f" geometric mean over a row. MSE is that of slope (no unit) and intercept (pixels²) over the"
        f" {len(split.params):,} images of {split.name}. Intervals hold for new seeds and new images (crossed, t"
        " interval on the log scale). Failed seeds count as the constant predictor."
        + (f" Of {facets.n_rows:,} rows the first {MOST_ROWS} are drawn." if less else "")
    )
