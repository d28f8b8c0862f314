"""Figures of the error of every variant: all seeds as points, the mean with its crossed interval, yardsticks as lines.

What is drawn comes from `ablations.report.plots.summary`; nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.metrics import METRICS, yardstick_errors
from ablations.comparison.scored import published_values
from ablations.comparison.spelling import number
from ablations.records.results import SplitResults, StudyResults
from ablations.report.plots.style import (
    BAND,
    BLUE,
    FAILED,
    GREEN,
    INK,
    MUTED,
    PAPER,
    PURPLE,
    SMALL,
    THEME,
    VERMILION,
    Style,
    log_axis,
    page,
    text_inches,
)
from ablations.report.plots.summary import Summary, summarise
from ablations.statistics.crossed import MINIMUM_SEEDS

ROW = 0.31  # inches a variant takes
FLAG = SMALL * 1.5 / 72  # inches between the labels of yardsticks
HEADER = 0.24  # inches between the axes and the lowest of these labels
FOOTER = 0.66  # inches for the labels of the error axis
GAP = 0.08  # inches between axes and text
SEEDS_AT, MEAN_AT, GIVEN_AT = -0.2, 0.12, 0.34  # within a row, in units of its height
VARIANT_HEADER = "variant   seeds ok"

# Colour, line style and width; a yardstick that is not named here is a thin grey line.
YARDSTICK_LINES = {
    "posterior_mean": (GREEN, "solid", 1.5),
    "least_squares": (INK, "solid", 1.3),
    "constant": (INK, "dotted", 1.3),
}
YARDSTICK_NAMES = {
    "chebyshev": "Chebyshev",
    "constant": "constant predictor",
    "huber": "Huber",
    "posterior_mean": "posterior mean (floor)",
    "theil_sen": "Theil-Sen",
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
    limits: tuple[float, float]  # of the error axis
    width: float
    spill: float

    @property
    def header(self) -> float:
        """Inches that the labels above the axes take."""
        return HEADER + FLAG * (1.5 + max((flag.row for flag in self.flags), default=-1))


def plot_mse(results: StudyResults, split: str) -> Figure:
    """Mean squared error by variant on an evaluation split: seeds, mean, 95% interval, yardsticks, published values.

    Raises ValueError for a split that the results do not have.
    """
    published = published_values(results.study, split, "mse")
    panel = _panel(results, split, "mse", published, width=5.2)
    return _figure(f"{results.study.title}: MSE by variant", [panel])


def plot_slope_intercept(results: StudyResults, split: str) -> Figure:
    """The squared errors of slope and of intercept by variant, in a panel each. Raises as `plot_mse`."""
    metrics: tuple[str, ...] = ("slope", "intercept")
    panels = [_panel(results, split, metric, {}, width=3.4) for metric in metrics]
    return _figure(f"{results.study.title}: errors of slope and of intercept by variant", panels)


def stack_flags(positions: Sequence[float], widths: Sequence[float]) -> list[int]:
    """Rows (0 is the lowest) for labels that start at `positions` and are `widths` wide, both in one unit.

    A label hangs to the right of its line, and the line rises to its label. A label must lie above every label
    that begins below it, so that neither lines nor labels cross one.
    """
    order = sorted(range(len(positions)), key=lambda i: -positions[i])
    rows = [0] * len(positions)
    for n, i in enumerate(order):
        below = [rows[j] for j in order[:n] if positions[j] <= positions[i] + widths[i]]
        rows[i] = 1 + max(below, default=-1)
    return rows


def _panel(
    results: StudyResults,
    split_name: str,
    metric: str,
    published: Mapping[str, float],
    width: float,
) -> Panel:
    split = results.split(split_name)
    summaries = summarise(split, metric)
    published = {s.name: published[s.name] for s in summaries if s.name in published}
    means = {name: float(yardstick_errors(split, name, metric).mean()) for name in split.yardsticks}
    means = {name: mean for name, mean in means.items() if np.isfinite(mean) and mean > 0}
    labels = [
        f"{YARDSTICK_NAMES.get(name, name.replace('_', ' '))} {number(mean)}"
        for name, mean in means.items()
    ]
    widths = [text_inches(label, SMALL) + GAP for label in labels]
    texts = ["mean [95% CI]", *(summary.value for summary in summaries)]
    spill = GAP + max(text_inches(text, SMALL) for text in texts)
    low, high = _data_limits(summaries, [*means.values(), *published.values()])
    for mean, label_width in zip(means.values(), widths, strict=True):
        # A label that begins here must end before the next panel does.
        room = max(width + spill - label_width, 0.2 * width)
        high = max(high, low * float((mean / low) ** (width / room)))
    positions = [width * np.log(mean / low) / np.log(high / low) for mean in means.values()]
    rows = stack_flags(positions, widths)
    flags = [Flag(*flag) for flag in zip(means, means.values(), labels, rows, strict=True)]
    return Panel(metric, split, summaries, published, flags, (low, high), width, spill)


def _data_limits(summaries: Sequence[Summary], others: Sequence[float]) -> tuple[float, float]:
    """Limits that hold every point, and intervals as far as three times beyond the points."""
    values = np.array([*others, *(seed for s in summaries for seed in s.seeds)])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 10.0
    intervals = [interval for s in summaries for interval in (s.scored, s.given) if interval]
    ends = np.array([end for interval in intervals for end in (interval.low, interval.high)])
    shown = np.log10([*values, *ends[np.isfinite(ends)].clip(values.min() / 3, values.max() * 3)])
    low, high = shown.min(), shown.max()
    pad = max(0.04 * (high - low), 0.05)
    return float(10 ** (low - pad)), float(10 ** (high + pad))


def _figure(title: str, panels: Sequence[Panel]) -> Figure:
    first = panels[0]
    labels = [f"{s.name}   {s.n_ok}/{s.n_seeds}" for s in first.summaries]
    left = GAP + max(text_inches(text) for text in [VARIANT_HEADER, *labels])
    header = max(panel.header for panel in panels)
    height = ROW * max(len(labels), 1)
    with mpl.rc_context(THEME):
        canvas = page(
            left + sum(panel.width + panel.spill + 2 * GAP for panel in panels),
            header + height + FOOTER,
            title=title,
            note=_note(first),
            legend=_legend(first),
        )
        for panel in panels:
            axes = canvas.axes(left, header, panel.width, height)
            _draw(axes, panel, height)
            axes.set_yticks(range(len(labels)), labels if panel is first else [""] * len(labels))
            if panel is first:
                _header(axes, VARIANT_HEADER, "right")
            left += panel.width + panel.spill + 2 * GAP
        return canvas.figure


def _draw(axes: Axes, panel: Panel, height: float) -> None:
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
    _header(axes, "mean [95% CI]", "left")


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
            axes.plot(interval.mean, y + offset, **_points(style), zorder=5)
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


def _header(axes: Axes, text: str, side: str) -> None:
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


def _legend(panel: Panel) -> list[Line2D]:
    entries = [Line2D([], [], label="one seed", **_points(SEED))]
    if any(s.scored for s in panel.summaries):
        entries.append(Line2D([], [], label="mean, 95% CI", **MEAN))
    if any(s.given for s in panel.summaries):
        entries.append(Line2D([], [], label="mean without failed seeds, 95% CI", **GIVEN))
    if any(s.n_ok < s.n_seeds for s in panel.summaries):
        entries.append(Line2D([], [], label="failed seeds, how many", **_points(FAILED)))
    if panel.published:
        entries.append(
            Line2D([], [], label="published single run of the full protocol", **_points(PUBLISHED))
        )
    return entries


def _note(panel: Panel) -> str:
    parts = [
        f"A point is one seed's mean over the {len(panel.split.params):,} images. Intervals cross seeds and images"
        f" (t interval on the log scale) and need {MINIMUM_SEEDS} seeds. Lines are estimators without training on the"
        " same images."
    ]
    if any(s.n_ok < s.n_seeds for s in panel.summaries):
        parts.append("A failed seed counts as the constant predictor.")
    return " ".join(parts)
