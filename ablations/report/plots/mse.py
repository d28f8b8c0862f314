"""Figures of the error of every variant: all seeds as points, the mean with its crossed interval, yardsticks as lines.

What is drawn comes from `ablations.report.plots.summary`; nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.metrics import METRICS
from ablations.comparison.scored import Estimator, estimators, published_values
from ablations.comparison.spelling import number
from ablations.records.results import SplitResults, StudyResults
from ablations.report.plots.flags import YARDSTICK_NAMES, Flag
from ablations.report.plots.layout import Layout, layout_of
from ablations.report.plots.overview import Overview, draw_overview
from ablations.report.plots.ranking import restricted
from ablations.report.plots.rows import (
    Panel,
    draw_panel,
    heading,
    legend,
    note,
)
from ablations.report.plots.style import (
    FONT,
    GAP,
    SMALL,
    THEME,
    hover,
    page,
    shorten,
    text_inches,
    titled,
    wrap,
)
from ablations.report.plots.summary import (
    data_limits,
    interval_of,
    summarise,
    summary_table,
)

ROW, COMPACT = 0.31, 0.2  # inches a variant takes where they are few, and where they are many
FEW = 30  # variants
LABEL, WIDE_LABEL = (
    3.6,
    4.5,
)  # inches of a variant's name where they are few, and where they are many
MOST_LINES = (
    3  # of a name that is longer, where they are few; of what does not fit the middle is left out
)
FOOTER = 0.66  # inches for the labels of the error axis
VARIANT_HEADER = "variant   seeds ok"
ZOOM = 0.5  # variants that take up less of the axis than this get an axis of their own
ALONE = 5  # variants, up to which one axis holds everything


def plot_mse(
    results: StudyResults,
    split: str,
    *,
    metric: str = "mse",
    ax: Axes | None = None,
    known: Mapping[str, Estimator] | None = None,
) -> Figure:
    """A metric (MSE by default) by variant on an evaluation split: seeds, interval, yardsticks, published values.

    More than 8 variants are sorted, of more than 100 the best and the worst are drawn. With `ax` it is drawn into these
    axes, without title and notes, and their figure is returned. `known`: the split's `estimators` for this metric where
    they are at hand. Raises ValueError for a split that the results do not have, and for an unknown metric.
    """
    data = results.split(split)
    known = known or estimators(data, metric)
    layout = layout_of(results, data, metric, known)
    width = 5.2 if ax is None else _inches(ax)[0]
    panel = _panel(results, data, metric, known, layout, width)
    if ax is None:
        title = titled(results.study.title, f"{METRICS[metric].words} by variant on {split}")
        return _figure(title, [panel])
    return _into(ax, panel, labelled=True)


def plot_slope_intercept(
    results: StudyResults,
    split: str,
    *,
    ax: Sequence[Axes] | None = None,
    known: Mapping[str, Estimator] | None = None,
) -> Figure:
    """The squared errors of slope and of intercept by variant, in a panel each, or in the two axes of `ax`.

    Variants stand as in `plot_mse`, by their MSE, for which `known` is. Raises as `plot_mse`.
    """
    data = results.split(split)
    layout = layout_of(results, data, "mse", known or estimators(data, "mse"))
    few = restricted(data, layout.shown.names)
    metrics = ("slope", "intercept")
    widths = [3.4, 3.4] if ax is None else [_inches(axes)[0] for axes in ax]
    if len(widths) != len(metrics):
        raise ValueError(
            f"ax holds {len(widths)} axes, one for the slope and one for the intercept"
        )
    panels = [
        _panel(results, few, metric, estimators(few, metric), layout, width)
        for metric, width in zip(metrics, widths, strict=True)
    ]
    if ax is None:
        title = titled(
            results.study.title, f"errors of slope and of intercept by variant on {split}"
        )
        return _figure(title, panels)
    for axes, panel in zip(ax, panels, strict=True):
        figure = _into(axes, panel, labelled=panel is panels[0])
    return figure


def mse_data(
    results: StudyResults,
    split: str,
    *,
    metrics: Sequence[str] = ("mse",),
    known: Mapping[str, Estimator] | None = None,
) -> pd.DataFrame:
    """The numbers that `plot_mse` draws, of two `metrics` those of `plot_slope_intercept`: see `summary_table`."""
    data = results.split(split)
    ranking = known or estimators(data, "mse")
    chosen = layout_of(results, data, "mse", ranking).shown
    few = restricted(data, chosen.names)
    tables = []
    for metric in metrics:
        found = ranking if metric == "mse" else estimators(few, metric)
        published = published_values(results.study, split, metric)
        yardsticks = {name: float(found[name].scores.mean()) for name in data.yardsticks}
        table = summary_table(summarise(few, metric, known=found), published, yardsticks)
        tables.append(table.assign(metric=metric))
    return pd.concat(tables, ignore_index=True)


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
    split: SplitResults,
    metric: str,
    known: Mapping[str, Estimator],
    layout: Layout,
    width: float,
) -> Panel:
    point = AGGREGATES[METRICS[metric].aggregate].point
    summaries = summarise(split, metric, layout.shown.names, known)
    published = published_values(results.study, split.name, metric)
    published = {s.name: published[s.name] for s in summaries if s.name in published}
    means = {name: point(known[name].scores) for name in split.yardsticks}
    means = {name: mean for name, mean in means.items() if np.isfinite(mean) and mean > 0}
    texts = [
        f"{METRICS[metric].aggregate} [{interval_of(split)}]",
        *(summary.value for summary in summaries),
    ]
    spill = GAP + max(text_inches(text, SMALL) for text in texts)
    own = data_limits(summaries, list(published.values()))
    full = data_limits(summaries, [*means.values(), *published.values()])
    zoomed = len(summaries) > ALONE and np.log(own[1] / own[0]) < ZOOM * np.log(full[1] / full[0])
    flags, full = _flags(means, full, width, spill)
    overview = None
    if zoomed:
        everything = [point(known[variant.name].scores) for variant in split.variants]
        overview = Overview(flags, everything, full, own)
    return Panel(
        metric=metric,
        split=split,
        summaries=summaries,
        published=published,
        flags=[] if overview else flags,
        lines=means,
        population=any(known[name].known for name in split.yardsticks),
        limits=own if overview else full,
        width=width,
        spill=spill,
        row=ROW if len(summaries) <= FEW else COMPACT,
        key=layout.key,
        overview=overview,
        shown=layout.shown,
    )


def _flags(
    means: Mapping[str, float], limits: tuple[float, float], width: float, spill: float
) -> tuple[list[Flag], tuple[float, float]]:
    """Labelled yardsticks, and limits between which their labels have room."""
    low, high = limits
    labels = [
        f"{YARDSTICK_NAMES.get(name, name.replace('_', ' '))} {number(mean)}"
        for name, mean in means.items()
    ]
    widths = [text_inches(label, SMALL) + GAP for label in labels]
    for mean, label_width in zip(means.values(), widths, strict=True):
        # A label that begins here must end before the next panel does.
        room = max(width + spill - label_width, 0.2 * width)
        high = max(high, low * float((mean / low) ** (width / room)))
    positions = [width * np.log(mean / low) / np.log(high / low) for mean in means.values()]
    rows = stack_flags(positions, widths)
    flags = [Flag(*flag) for flag in zip(means, means.values(), labels, rows, strict=True)]
    return flags, (low, high)


def _figure(title: str, panels: Sequence[Panel]) -> Figure:
    first = panels[0]
    labels = _labels(first)
    left = GAP + max(
        text_inches(line) for text in [VARIANT_HEADER, *labels] for line in text.split("\n")
    )
    above = max(panel.overview.height if panel.overview else 0.0 for panel in panels)
    header = max(panel.header for panel in panels)
    lines = 1 + max((label.count("\n") for label in labels), default=0)
    row = max(first.row, lines * FONT * 1.25 / 72 + 0.08 if lines > 1 else 0.0)
    height = row * max(len(labels), 1)
    with mpl.rc_context(THEME):
        canvas = page(
            left + sum(panel.width + panel.spill + 2 * GAP for panel in panels),
            above + header + height + FOOTER,
            title=title,
            note=note(first),
            legend=legend(first),
        )
        for panel in panels:
            if panel.overview:
                strip = panel.overview.strip
                draw_overview(
                    canvas.axes(left, panel.overview.top, panel.width, strip),
                    panel.overview,
                    labelled=panel is first,
                )
            axes = canvas.axes(left, above + header, panel.width, height)
            draw_panel(axes, panel, height)
            axes.set_yticks(range(len(labels)), labels if panel is first else [""] * len(labels))
            if panel is first:
                for name, summary in zip(axes.get_yticklabels(), panel.summaries, strict=True):
                    hover(name, summary.words)
                heading(axes, VARIANT_HEADER, "right")
            left += panel.width + panel.spill + 2 * GAP
        return canvas.figure


def _inches(axes: Axes) -> tuple[float, float]:
    """Width and height of axes that are there already."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes that were removed from theirs cannot be drawn into
    extent = axes.get_window_extent()
    return extent.width / figure.dpi, extent.height / figure.dpi


def _into(axes: Axes, panel: Panel, labelled: bool) -> Figure:
    """A panel in axes that are there already; what they have no room for, an overview, is left out."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    draw_panel(axes, panel, _inches(axes)[1])
    names = _labels(panel) if labelled else [""] * len(panel.summaries)
    axes.set_yticks(range(len(panel.summaries)), names)
    return figure


def _labels(panel: Panel) -> list[str]:
    """Names with the numbers of seeds; long names take more than one line only where there are few of them."""
    inches, lines = (LABEL, MOST_LINES) if len(panel.summaries) <= FEW else (WIDE_LABEL, 1)
    names = [wrap(shorten(s.name, lines * inches), inches) for s in panel.summaries]
    return [
        f"{name}   {s.n_ok}/{s.n_seeds}" for name, s in zip(names, panel.summaries, strict=True)
    ]
