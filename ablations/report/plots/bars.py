"""Rows in groups: a point with its interval and its numbers, on one axis. Main effects and shares are drawn so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ablations.comparison.spelling import with_interval
from ablations.report.plots.flags import small_text
from ablations.report.plots.style import (
    BAND,
    BLUE,
    GAP,
    INK,
    MUTED,
    SMALL,
    THEME,
    log_axis,
    page,
    text_inches,
    wrap,
)

ROW = 0.25  # inches
WIDTH = 4.2
LABEL = 3.0  # inches of a label, longer ones are broken
FOOTER = 0.6


@dataclass(frozen=True)
class Bar:
    """A row; `points`, such as each seed's value, are drawn above it."""

    label: str
    value: float
    low: float
    high: float
    points: Sequence[float] = ()


@dataclass(frozen=True)
class Group:
    """Rows under a heading."""

    heading: str
    rows: Sequence[Bar]


def plot_groups(
    groups: Sequence[Group],
    *,
    title: str,
    note: str,
    label: str,
    log: bool,
    at: float,
    shares: bool = False,
) -> Figure:
    """`label` is that of the axis, logarithmic or not; a line stands at `at`; `shares` are written in per cent."""
    spell = percent if shares else with_interval
    lines: list[Group | Bar] = []
    for group in groups:
        lines += [group, *group.rows]
    bars = [line for line in lines if isinstance(line, Bar)]
    texts = [spell(bar.value, bar.low, bar.high) for bar in bars]
    labels = [wrap(line.label, LABEL) if isinstance(line, Bar) else line.heading for line in lines]
    left = GAP + max(
        text_inches(part, weight="bold") for text in labels for part in text.split("\n")
    )
    spill = 2 * GAP + max(text_inches(text, SMALL) for text in texts)
    tallest = max(text.count("\n") for text in labels)
    height = (ROW + 0.14 * tallest) * len(lines)
    with mpl.rc_context(THEME):
        canvas = page(left + WIDTH + spill, 0.1 + height + FOOTER, title=title, note=note)
        axes = canvas.axes(left, 0.1, WIDTH, height)
        _limits(axes, bars, log, at)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.axvline(at, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
        axes.set_xlabel(label)
        if shares:
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_yticks(range(len(lines)), labels)
        places = [y for y, line in enumerate(lines) if isinstance(line, Bar)]
        for y, (line, name) in enumerate(zip(lines, axes.get_yticklabels(), strict=True)):
            if isinstance(line, Group):
                name.set_fontweight("bold")
                axes.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
        spans = [
            [(bar.low, y), (bar.high, y)]
            for y, bar in zip(places, bars, strict=True)
            if np.isfinite(bar.low)
        ]
        axes.add_collection(LineCollection(spans, colors=INK, linewidths=1.4), autolim=False)
        axes.plot(
            [bar.value for bar in bars],
            places,
            color=BLUE,
            marker="D",
            markersize=4.5,
            linestyle="",
        )
        dots = [(x, y - 0.25) for y, bar in zip(places, bars, strict=True) for x in bar.points]
        if dots:
            across, down = zip(*dots, strict=True)
            axes.scatter(across, down, s=12, color=BLUE, alpha=0.75, linewidth=0)
        for y, text in zip(places, texts, strict=True):
            small_text(axes, text, (1, y), (GAP * 72, 0), xycoords=axes.get_yaxis_transform())
        return canvas.figure


def percent(value: float, low: float, high: float) -> str:
    """`55.0% [52.1%, 58.3%]`."""
    interval = "" if np.isnan(low) else f" [{low:.1%}, {high:.1%}]"
    return f"{value:.1%}{interval}"


def _limits(axes: mpl.axes.Axes, bars: Sequence[Bar], log: bool, at: float) -> None:
    drawn = (x for bar in bars for x in (bar.value, bar.low, bar.high, *bar.points))
    values = np.array([at, *drawn])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if log:
        pad = max((high / low) ** 0.05, 1.05)
        log_axis(axes, "x", low / pad, high * pad)
    else:
        pad = 0.05 * (high - low)
        axes.set_xlim(low - pad, high + pad)
