"""One metric of one split as rows of an axes: all seeds as points, the interval of the whole, yardsticks as lines.

What is drawn comes from `ablations.report.plots.summary`; where it stands on a page: `ablations.report.plots.mse`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ablations.comparison.metrics import METRICS
from ablations.records.results import SplitResults
from ablations.report.plots.style import (
    BAND,
    BLUE,
    FAILED,
    GAP,
    GREEN,
    INK,
    MUTED,
    PAPER,
    PURPLE,
    SMALL,
    VERMILION,
    Style,
    log_axis,
)
from ablations.report.plots.summary import Summary
from ablations.statistics.crossed import MINIMUM_SEEDS

FLAG = SMALL * 1.5 / 72  # inches between the labels of yardsticks
HEADER = 0.24  # inches between the axes and the lowest of these labels
SEEDS_AT, MEAN_AT, GIVEN_AT = -0.2, 0.12, 0.34  # within a row, in units of its height

# Colour, line style and width; a yardstick that is not named here is a thin grey line.
YARDSTICK_LINES = {
    "posterior_mean": (GREEN, "solid", 1.5),
    "least_squares": (INK, "solid", 1.3),
    "constant": (INK, "dotted", 1.3),
}
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


@dataclass(frozen=True)
class Flag:
    """A yardstick's line and its label."""

    name: str
    value: float  # mean error
    label: str
    row: int  # of the label above the axes, 0 is the lowest


@dataclass(frozen=True)
class Panel:
    """One metric of one split, laid out: an axes of `width` inches with `spill` inches of text to its right."""

    metric: str
    split: SplitResults
    summaries: Sequence[Summary]
    published: Mapping[str, float]
    flags: Sequence[Flag]
    population: bool  # whether yardsticks' lines are known values of the images' population, not means over the split
    limits: tuple[float, float]  # of the error axis
    width: float
    spill: float

    @property
    def header(self) -> float:
        """Inches that the labels above the axes take."""
        return HEADER + FLAG * (1.5 + max((flag.row for flag in self.flags), default=-1))


def draw_panel(axes: Axes, panel: Panel, height: float) -> None:
    """Draw into axes that are `height` inches high."""
    log_axis(axes, "x", *panel.limits)
    images = f"{len(panel.split.params):,} images"
    axes.set_xlabel(f"{METRICS[panel.metric].unit}\nlog scale; split {panel.split.name}, {images}")
    axes.set_ylim(max(len(panel.summaries), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    for flag in panel.flags:
        _draw_flag(axes, flag, height)
    rows = [(seed, y + SEEDS_AT) for y, s in enumerate(panel.summaries) for seed in s.seeds]
    seeds = np.array([row for row in rows if np.isfinite(row[0])]).reshape(-1, 2)
    sns.scatterplot(
        x=seeds[:, 0], y=seeds[:, 1], ax=axes, color=BLUE, s=22, alpha=0.75, linewidth=0.4, zorder=3
    )
    for y, summary in enumerate(panel.summaries):
        if y % 2 == 0:
            axes.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
        _draw_variant(axes, y, summary)
        if summary.name in panel.published:
            axes.plot(panel.published[summary.name], y, **_points(PUBLISHED), zorder=6)
    heading(axes, f"{METRICS[panel.metric].aggregate} [95% CI]", "left")


def _draw_variant(axes: Axes, y: float, summary: Summary) -> None:
    failed = summary.n_seeds - summary.n_ok
    if failed:
        at = summary.failed_at
        axes.plot(at, y + SEEDS_AT, **_points(FAILED), zorder=4, clip_on=False)
        _text(axes, str(failed), (at, y + SEEDS_AT), (5, 0), color=VERMILION, weight="bold")
    intervals = ((summary.scored, MEAN_AT, MEAN), (summary.given, GIVEN_AT, GIVEN))
    for interval, offset, style in intervals:
        if interval is not None:
            ends = [interval.low, interval.high]
            axes.plot(ends, [y + offset] * 2, color=INK, linewidth=1.4, zorder=4)
            axes.plot(interval.value, y + offset, **_points(style), zorder=5)
    axes.annotate(
        summary.value,
        (1, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(GAP * 72, 0),
        textcoords="offset points",
        va="center",
        size=SMALL,
    )


def _draw_flag(axes: Axes, flag: Flag, height: float) -> None:
    colour, style, width = YARDSTICK_LINES.get(flag.name, (MUTED, "solid", 0.6))
    top = 1 + (HEADER + (flag.row + 0.5) * FLAG) / height
    transform = axes.get_xaxis_transform()
    axes.plot(
        [flag.value] * 2,
        [0, top],
        transform=transform,
        color=colour,
        linestyle=style,
        linewidth=width,
        clip_on=False,
        zorder=2,
    )
    _text(axes, flag.label, (flag.value, top), (3, 0), xycoords=transform, color=colour)


def heading(axes: Axes, text: str, side: str) -> None:
    """Text above what stands to the `side` of the axes where it ends."""
    corner, offset = ((1, 1), GAP) if side == "left" else ((0, 1), -GAP / 2)
    _text(axes, text, corner, (offset * 72, 9), xycoords="axes fraction", ha=side, color=MUTED)


def _text(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Small text at a point, `offset` points away from it."""
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", va="center", size=SMALL, **style
    )


def _points(style: Style) -> Style:
    return {**style, "linestyle": ""}


def legend(panel: Panel) -> list[Line2D]:
    """What the marks mean."""
    aggregate = METRICS[panel.metric].aggregate
    entries = [Line2D([], [], label="one seed", **_points(SEED))]
    if any(s.scored for s in panel.summaries):
        entries.append(Line2D([], [], label=f"{aggregate}, 95% CI", **MEAN))
    if any(s.given for s in panel.summaries):
        entries.append(Line2D([], [], label=f"{aggregate} without failed seeds, 95% CI", **GIVEN))
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
    over = (
        "in the population of images, a known value" if panel.population else "on the same images"
    )
    parts = [
        f"A point is one seed's {aggregate} over the {len(panel.split.params):,} images. Intervals cross seeds and"
        f" images (t interval on the log scale) and need {MINIMUM_SEEDS} seeds. Lines are estimators without training"
        f" {over}."
    ]
    if any(s.n_ok < s.n_seeds for s in panel.summaries):
        parts.append("A failed seed counts as the constant predictor.")
    return " ".join(parts)
