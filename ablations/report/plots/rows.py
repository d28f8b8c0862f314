"""One metric of one split as rows of an axes: all seeds as points, the interval of the whole, yardsticks as lines.

What is drawn comes from `ablations.report.plots.summary`; where it stands on a page: `ablations.report.plots.mse`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ablations.comparison.metrics import METRICS
from ablations.records.results import SplitResults
from ablations.report.plots.flags import Flag, draw_flag, draw_line, flags_height, small_text
from ablations.report.plots.levels import MARKS, FactorKey
from ablations.report.plots.overview import Overview
from ablations.report.plots.ranking import Shown
from ablations.report.plots.style import (
    BAND,
    BLUE,
    FAILED,
    GAP,
    INK,
    MUTED,
    PAPER,
    PURPLE,
    VERMILION,
    Style,
    hover,
    log_axis,
)
from ablations.report.plots.summary import Summary, interval_of
from ablations.statistics.crossed import MINIMUM_SEEDS

HEADER = 0.24  # inches between the axes and the lowest of the labels above
SEEDS_AT, MEAN_AT, GIVEN_AT = -0.2, 0.12, 0.34  # within a row, in units of its height
ROOMY = 0.3  # inches of a row from which on marks have their full size

SEED: Style = {"color": BLUE, "marker": "o", "markersize": 4.5}
MEAN: Style = {"color": INK, "marker": "D", "markersize": 4.5, "markeredgewidth": 1.0}
GIVEN: Style = {**MEAN, "markerfacecolor": PAPER}
PUBLISHED: Style = {
    "color": PURPLE,
    "marker": "*",
    "markersize": 10,
    "markeredgecolor": INK,
    "markeredgewidth": 0.5,
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One metric of one split, laid out: an axes of `width` inches with `spill` inches of text to its right."""

    metric: str
    split: SplitResults
    summaries: Sequence[Summary]
    published: Mapping[str, float]
    flags: Sequence[Flag]  # labelled above the rows; none where an overview has them
    lines: Mapping[str, float]  # yardsticks that cross the rows where these reach so far
    population: bool  # whether yardsticks' lines are known values of the images' population, not means over the split
    limits: tuple[float, float]  # of the error axis
    width: float
    spill: float
    row: float  # inches
    key: FactorKey | None  # whose levels colour the seeds
    overview: Overview | None
    shown: Shown

    @property
    def header(self) -> float:
        """Inches that the labels above the axes take."""
        return HEADER + flags_height(self.flags)

    @property
    def scale(self) -> float:
        """Of marks: those in narrow rows are smaller."""
        return float(min(self.row / ROOMY, 1.0) ** 0.5)


def draw_panel(axes: Axes, panel: Panel, height: float) -> None:
    """Draw into axes that are `height` inches high."""
    log_axis(axes, "x", *panel.limits)
    images = f"{len(panel.split.params):,} images"
    axes.set_xlabel(f"{METRICS[panel.metric].unit}\nlog scale; split {panel.split.name}, {images}")
    axes.set_ylim(max(len(panel.summaries), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    for flag in panel.flags:
        draw_flag(axes, flag, height, HEADER)
    if not panel.flags:
        low, high = panel.limits
        for name, value in panel.lines.items():
            if low <= value <= high:
                draw_line(axes, name, value)
    _draw_seeds(axes, panel)
    for y, summary in enumerate(panel.summaries):
        if y % 2 == 0:
            axes.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
        _draw_variant(axes, y, summary, panel.scale)
        if summary.name in panel.published:
            axes.plot(panel.published[summary.name], y, **_points(PUBLISHED), zorder=6)
    if panel.shown.worst:
        axes.axhline(panel.shown.best - 0.5, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    heading(axes, f"{METRICS[panel.metric].aggregate} [{interval_of(panel.split)}]", "left")


def _draw_seeds(axes: Axes, panel: Panel) -> None:
    """All seeds, a collection a colour."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for y, summary in enumerate(panel.summaries):
        mark = panel.key.mark(summary.name) if panel.key else (BLUE, "o")
        points = [(float(seed), y + SEEDS_AT) for seed in summary.seeds if np.isfinite(seed)]
        rows.setdefault(mark, []).extend(points)
    size = 22 * panel.scale**2
    for (colour, marker), points in rows.items():
        x, at = np.array(points).reshape(-1, 2).T
        sns.scatterplot(
            x=x,
            y=at,
            ax=axes,
            color=colour,
            marker=marker,
            s=size,
            alpha=0.75,
            linewidth=0.4,
            zorder=3,
        )


def _draw_variant(axes: Axes, y: float, summary: Summary, scale: float) -> None:
    failed = summary.n_seeds - summary.n_ok
    if failed:
        at = summary.failed_at
        axes.plot(at, y + SEEDS_AT, **_points(FAILED, scale), zorder=4, clip_on=False)
        small_text(axes, str(failed), (at, y + SEEDS_AT), (5, 0), color=VERMILION, weight="bold")
    intervals = ((summary.scored, MEAN_AT, MEAN), (summary.given, GIVEN_AT, GIVEN))
    for interval, offset, style in intervals:
        if interval is not None:
            ends = [interval.low, interval.high]
            axes.plot(ends, [y + offset] * 2, color=INK, linewidth=1.4 * scale, zorder=4)
            (mark,) = axes.plot(interval.value, y + offset, **_points(style, scale), zorder=5)
            hover(mark, summary.words)
    small_text(axes, summary.value, (1, y), (GAP * 72, 0), xycoords=axes.get_yaxis_transform())


def heading(axes: Axes, text: str, side: str) -> None:
    """Text above what stands to the `side` of the axes where it ends."""
    corner, offset = ((1, 1), GAP) if side == "left" else ((0, 1), -GAP / 2)
    small_text(axes, text, corner, (offset * 72, 9), xycoords="axes fraction", ha=side, color=MUTED)


def _points(style: Style, scale: float = 1.0) -> Style:
    return {**style, "linestyle": "", "markersize": style["markersize"] * scale}


def legend(panel: Panel) -> list[Line2D]:
    """What the marks mean."""
    aggregate = METRICS[panel.metric].aggregate
    if panel.key is None:
        entries = [Line2D([], [], label="one seed", **_points(SEED))]
    else:
        entries = [
            Line2D(
                [],
                [],
                label=f"one seed, {panel.key.factor} {level}",
                **_points({"color": colour, "marker": marker, "markersize": 4.5}),
            )
            for level, (colour, marker) in zip(panel.key.levels, MARKS, strict=False)
        ]
    if any(s.scored for s in panel.summaries):
        entries.append(Line2D([], [], label=f"{aggregate}, {interval_of(panel.split)}", **MEAN))
    if any(s.given for s in panel.summaries):
        label = f"{aggregate} without failed seeds, {interval_of(panel.split)}"
        entries.append(Line2D([], [], label=label, **GIVEN))
    if any(s.n_ok < s.n_seeds for s in panel.summaries):
        entries.append(Line2D([], [], label="failed seeds, how many", **_points(FAILED)))
    if panel.published:
        entries.append(
            Line2D([], [], label="published single run of the full protocol", **_points(PUBLISHED))
        )
    return entries


def note(panel: Panel) -> str:
    """What has to be known to read the panel."""
    aggregate = METRICS[panel.metric].aggregate
    of_lines = (
        "their errors over all images that the lab can draw, which are known"
        if panel.population
        else f"on the same {len(panel.split.params):,} images"
    )
    parts = [
        f"A point is one seed's {aggregate} over the {len(panel.split.params):,} images of {panel.split.name}."
        f" Intervals hold for new seeds and new images (crossed, t interval on the log scale) and need"
        f" {MINIMUM_SEEDS} seeds."
        f" Vertical lines are estimators without training: {of_lines}."
    ]
    if panel.overview:
        parts.append(
            "The strip has all of them and a tick a variant; its shaded part is the axis of the rows below."
        )
    if any(s.n_ok < s.n_seeds for s in panel.summaries):
        parts.append("A failed seed counts as the constant predictor.")
    return " ".join([*parts, panel.shown.note]).strip()
