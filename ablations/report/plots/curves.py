"""Learning curves: train loss and val MSE by epoch, a thin line a seed and their median, a panel a variant.

Where there are too many variants for that: `ablations.report.plots.curves_by_level`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from ablations.records.results import FloatArray, StudyResults
from ablations.report.plots.curves_by_level import MOST_PANELS, plot_curves_by_level
from ablations.report.plots.medians import MedianCurves, median_curves
from ablations.report.plots.style import (
    BLUE,
    FAILED,
    INK,
    ORANGE,
    SMALL,
    THEME,
    log_axis,
    page,
    titled,
    wrap,
)

COLUMNS = 4
PANEL_HEIGHT = 1.45  # inches
GAP = 0.18  # inches between panels
LEFT = 0.6  # inches for the labels of the loss axis
FOOTER = 0.5  # inches for the labels of the epoch axis
ROOM = 10.0  # a failed cell is drawn up to so many times the largest loss of the cells that are ok
# More points than this, over all panels, make the thin lines a bitmap in SVG: the file would take megabytes.
VECTOR_POINTS = 20_000
LOSSES: dict[str, tuple[str, str, Any]] = {  # label, colour, line style
    "train_loss": ("train loss", ORANGE, (0, (4, 1.2))),
    "val_mse": ("val MSE", BLUE, "-"),
}


def plot_learning_curves(
    results: StudyResults, *, variant: str | None = None, ax: Axes | None = None
) -> Figure:
    """Train loss and val MSE by epoch, on shared log axes: a panel a variant with every cell, or, for more than 16
    variants, a line a variant and a panel a factor.

    The median is over all seeds of the variant: a seed that ended early counts as infinitely bad from there on,
    so that a variant's curve never improves by losing seeds. Where half of them are lost there is no median.

    `variant` shows that one alone, and with `ax` draws it into these axes, whose figure is returned. Raises ValueError
    for a variant that the results do not have, and for `ax` without one.
    """
    names = list(dict.fromkeys(results.cells["variant"]))
    if variant is not None and variant not in names:
        raise ValueError(f"variant {variant!r} is not one of {', '.join(names)}")
    if ax is None:
        if variant is None and len(names) > MOST_PANELS:
            return plot_curves_by_level(results)
        return _page(results, names if variant is None else [variant])
    if variant is None:
        raise ValueError("axes hold the curves of one variant: name it as `variant`")
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes that were removed from theirs cannot be drawn into
    _panel(ax, results, median_curves(_of(results, [variant])), variant)
    return figure


def _of(results: StudyResults, names: Sequence[str]) -> StudyResults:
    """The results of some variants, as far as curves go."""
    if len(names) == results.cells["variant"].nunique():
        return results
    cells, curves = (
        table[table["variant"].isin(names)] for table in (results.cells, results.curves)
    )
    return StudyResults(results.study, cells, curves, {}, {})


def _page(results: StudyResults, names: Sequence[str]) -> Figure:
    cells = results.cells
    columns = min(COLUMNS, max(len(names), 1))
    width = 2.35 if columns > 2 else 3.2
    titles = [wrap(f"{name}   {_n_ok(cells, name)}", width, SMALL) for name in names]
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    title_height = lines * SMALL * 1.3 / 72
    step = title_height + PANEL_HEIGHT + GAP
    rows = -(-len(names) // columns)
    medians = median_curves(_of(results, names))
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + columns * width + (columns - 1) * GAP,
            rows * step - GAP + FOOTER,
            title=titled(results.study.title, "learning curves"),
            note="Both losses are the mean of the squared errors of slope (no unit) and intercept (pixels²), the val"
            " MSE on the images of val, which are easier than those of test. Thin: one seed. Thick: the median over all"
            " seeds, one that ended early counting as infinitely bad from there on. Beside a variant: seeds ok of all."
            " The train loss is a mean over the epoch, while the net changes.",
            legend=_legend(cells),
        )
        for i, (name, title) in enumerate(zip(names, titles, strict=True)):
            row, column = divmod(i, columns)
            left, top = column * (width + GAP), row * step + title_height
            axes = canvas.axes(LEFT + left, top, width, PANEL_HEIGHT)
            _panel(axes, results, medians, name)
            axes.set_title(title, size=SMALL, loc="left", y=1, pad=3, linespacing=1.1)
            axes.tick_params(labelsize=SMALL, labelbottom=i + columns >= len(names))
            axes.tick_params(axis="y", labelleft=column == 0)
            axes.xaxis.label.set_visible(i + columns >= len(names))
            axes.yaxis.label.set_visible(column == 0)
        return canvas.figure


def _panel(axes: Axes, results: StudyResults, medians: MedianCurves, name: str) -> None:
    """The curves of one variant."""
    curves, cells = results.curves, results.cells
    log_axis(axes, "y", *_limits(cells, curves))
    axes.yaxis.set_minor_locator(NullLocator())
    epoch_axis(axes, int(curves["epoch"].max()) if len(curves) else 1)
    axes.set_ylabel("loss (log scale)")
    own = curves[curves["variant"] == name]
    top = axes.get_ylim()[1] / 1.3
    marker = "o" if own["epoch"].nunique() == 1 else None
    for loss, (_, colour, style) in LOSSES.items():
        finite = own[np.isfinite(own[loss])]
        if finite.empty:
            continue
        seeds = [
            np.column_stack([seed["epoch"], seed[loss].clip(upper=top)])
            for _, seed in finite.groupby("seed")
        ]
        thin = LineCollection(
            seeds,
            colors=colour,
            linewidths=0.6,
            alpha=0.45,
            rasterized=len(curves) > VECTOR_POINTS,
        )
        axes.add_collection(thin, autolim=False)
        median = np.minimum(medians.of(name, loss), top)
        axes.plot(
            medians.epochs,
            median,
            color=colour,
            linestyle=style,
            linewidth=1.7,
            marker=marker,
            markersize=3,
        )
    of_name = cells[cells["variant"] == name]
    for seed in of_name.loc[of_name["status"] != "ok", "seed"]:
        _mark_end(axes, own[own["seed"] == seed], top)


def _mark_end(axes: Axes, curve: pd.DataFrame, top: float) -> None:
    """The last that was seen of a failed cell: its val MSE, or the train loss where no val MSE is finite."""
    for loss in ("val_mse", "train_loss"):
        seen = curve[np.isfinite(curve[loss])]
        if len(seen):
            last = seen.loc[seen["epoch"].idxmax()]
            at = last["epoch"], min(last[loss], top)
            axes.plot(*at, **FAILED, linestyle="", clip_on=False, zorder=5)
            return


def epoch_axis(axes: Axes, epochs: int) -> None:
    """The axis of epochs, counted from 1."""
    axes.set_xlim(1 - min(0.5, 0.02 * epochs), epochs + max(0.2, 0.02 * epochs))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _n_ok(cells: pd.DataFrame, name: str) -> str:
    status = cells.loc[cells["variant"] == name, "status"]
    return f"{int((status == 'ok').sum())}/{len(status)}"


def _limits(cells: pd.DataFrame, curves: pd.DataFrame) -> tuple[float, float]:
    """Limits over the cells that are ok; a failed cell may reach `ROOM` times higher."""
    cell = ["variant", "seed"]
    ok = curves.merge(cells.loc[cells["status"] == "ok", cell], on=cell)
    drawn, base = (_positive(table) for table in (curves, ok))
    if not len(drawn):
        return 0.1, 10.0
    base = base if len(base) else drawn
    high = min(drawn.max(), ROOM * base.max())
    return float(min(base.min(), high)) / 1.3, float(high) * 1.5


def _positive(curves: pd.DataFrame) -> FloatArray:
    values: npt.NDArray[np.float64] = curves[list(LOSSES)].to_numpy(np.float64).ravel()
    return values[np.isfinite(values) & (values > 0)]


def _legend(cells: pd.DataFrame) -> list[Line2D]:
    entries = [
        Line2D([], [], label=label, color=colour, linestyle=style, linewidth=1.7)
        for label, colour, style in LOSSES.values()
    ]
    entries.append(Line2D([], [], label="one seed", color=INK, linewidth=0.6, alpha=0.6))
    failed = cells.loc[cells["status"] != "ok", "status"]
    if len(failed):
        label = f"end of a failed seed ({', '.join(sorted(set(failed)))})"
        entries.append(Line2D([], [], label=label, linestyle="", **FAILED))
    return entries
