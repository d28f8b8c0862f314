"""Learning curves of many variants: a thin line each, and beside them a panel a factor with a line a level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ablations.records.results import StudyResults
from ablations.report.plots.levels import MARKS, ordered, varied
from ablations.report.plots.medians import FloatArray, MedianCurves, median_curves
from ablations.report.plots.style import (
    BLUE,
    INK,
    MUTED,
    SMALL,
    THEME,
    log_axis,
    page,
    titled,
    wrap,
)

MOST_PANELS = 16  # variants, up to which each has a panel of its own
MOST_LEVELS = 8  # lines in a panel
COLUMNS = 2
WIDTH, HEIGHT = 3.3, 2.3  # inches of a panel
LEFT, KEY, TITLE, FOOTER = 0.6, 1.75, 0.3, 0.5  # inches around it
STEP = LEFT + WIDTH + KEY
DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)))
LOSS = "val_mse"


def plot_curves_by_level(results: StudyResults) -> Figure:
    """Median val MSE by epoch: of every variant, and of all cells of each level of every factor."""
    curves = median_curves(results)
    by_name = {variant.name: variant.levels for variant in results.study.variants}
    levels = pd.DataFrame(
        [{f: by_name[name][f] for f in results.study.factors} for name in curves.variants],
        index=list(curves.variants),
    )
    factors = varied(levels)
    limits = _limits(curves.all(LOSS))
    rows = -(-(1 + len(factors)) // COLUMNS)
    with mpl.rc_context(THEME):
        canvas = page(
            COLUMNS * STEP,
            rows * (TITLE + HEIGHT + FOOTER),
            title=titled(
                results.study.title, f"learning curves of {len(curves.variants):,} variants"
            ),
            note="MSE on the images of val, which are easier than those of test, by epoch. A thin line is the median"
            " over a variant's seeds, a line of a level that over all cells of all variants with it; a cell that failed"
            " counts as infinitely bad from its end on, and where half of them are there is no median. The curves of a"
            " single variant: plot_learning_curves(variant=...); of every cell: curves.csv.",
        )
        for i in range(1 + len(factors)):
            row, column = divmod(i, COLUMNS)
            top = row * (TITLE + HEIGHT + FOOTER) + TITLE
            axes = canvas.axes(column * STEP + LEFT, top, WIDTH, HEIGHT)
            _axes(axes, curves, limits, column == 0)
            if i == 0:
                _every_variant(axes, curves)
            else:
                _levels(axes, curves, levels[factors[i - 1]], factors[i - 1])
        return canvas.figure


def _axes(axes: Axes, curves: MedianCurves, limits: tuple[float, float], first: bool) -> None:
    epochs = int(curves.epochs.max()) if len(curves.epochs) else 1
    log_axis(axes, "y", *limits)
    axes.set_xlim(1 - min(0.5, 0.02 * epochs), epochs + max(0.2, 0.02 * epochs))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel("val MSE (log scale)" if first else "")
    axes.tick_params(labelsize=SMALL)


def _every_variant(axes: Axes, curves: MedianCurves) -> None:
    """A line a variant; a bitmap in SVG, where thousands of lines would take megabytes."""
    medians = curves.all(LOSS)
    ends = _last(medians)
    best, worst = int(np.nanargmin(ends)), int(np.nanargmax(ends))
    lines = [np.column_stack([curves.epochs, line]) for line in medians]
    thin = LineCollection(
        lines,
        colors=MUTED,
        linewidths=0.6,
        alpha=max(0.08, min(0.6, 30 / len(lines))),
        rasterized=True,
    )
    axes.add_collection(thin, autolim=False)
    marked = [(best, BLUE, "best at the end"), (worst, INK, "worst at the end")]
    handles = []
    for at, colour, words in marked[: len({best, worst})]:
        axes.plot(curves.epochs, medians[at], color=colour, linewidth=1.5)
        handles.append(_handle(f"{words}: {curves.variants[at]}", colour, "solid"))
    _title(axes, f"every variant ({len(lines):,})")
    _key(axes, [*handles, _handle("all others", MUTED, "solid")])


def _levels(axes: Axes, curves: MedianCurves, column: pd.Series[Any], factor: str) -> None:
    """A line a level; of many levels those that end best and worst."""
    found = {
        level: curves.over((column == level).to_numpy(bool), LOSS) for level in ordered(column)
    }
    ends = dict(zip(found, _last(np.array(list(found.values()))), strict=True))
    by_end = sorted(found, key=lambda level: (np.isnan(ends[level]), ends[level]))
    drawn = by_end
    title = factor
    if len(by_end) > MOST_LEVELS:
        half = MOST_LEVELS // 2
        drawn = [*by_end[:half], *by_end[-half:]]
        title = f"{factor}: {half} best and {half} worst of {len(by_end)} levels"
    handles = []
    order = list(found) if len(drawn) == len(found) else drawn  # colours as in the other figures
    for level in drawn:
        at = order.index(level)
        colour, dashes = MARKS[at % len(MARKS)][0], DASHES[at // len(MARKS) % len(DASHES)]
        axes.plot(curves.epochs, found[level], color=colour, linestyle=dashes, linewidth=1.5)
        lost = " (half failed)" if np.isnan(ends[level]) else ""
        handles.append(_handle(f"{level}{lost}", colour, dashes))
    _title(axes, title)
    _key(axes, handles[::-1])


def _last(medians: FloatArray) -> FloatArray:
    """The medians `(V, E)` at the last epoch; NaN where there is none, all 1 without epochs."""
    return medians[:, -1] if medians.shape[1] else np.ones(len(medians))


def _limits(medians: FloatArray) -> tuple[float, float]:
    shown = medians[np.isfinite(medians) & (medians > 0)]
    if not len(shown):
        return 0.1, 10.0
    return float(shown.min()) / 1.3, float(shown.max()) * 1.3


def _handle(label: str, colour: str, dashes: Any) -> Line2D:
    return Line2D(
        [], [], label=wrap(label, KEY - 0.5, SMALL), color=colour, linestyle=dashes, linewidth=1.5
    )


def _key(axes: Axes, handles: Sequence[Line2D]) -> None:
    """Beside the panel, in the order of the lines' ends."""
    axes.legend(
        handles=list(handles),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=SMALL,
        handlelength=1.8,
        labelspacing=0.6,
    )


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", pad=4, weight="bold")
