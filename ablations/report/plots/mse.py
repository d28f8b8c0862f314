"""Figures of the error of every variant: all seeds as points, the mean with its crossed interval, yardsticks as lines.

What is drawn comes from `ablations.report.plots.summary`; nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.metrics import METRICS
from ablations.comparison.scored import estimators, published_values
from ablations.comparison.spelling import number
from ablations.records.results import StudyResults
from ablations.report.plots.rows import Flag, Panel, draw_panel, heading, legend, note
from ablations.report.plots.style import (
    GAP,
    SMALL,
    THEME,
    page,
    text_inches,
)
from ablations.report.plots.summary import Summary, summarise

ROW = 0.31  # inches a variant takes
FOOTER = 0.66  # inches for the labels of the error axis
VARIANT_HEADER = "variant   seeds ok"

YARDSTICK_NAMES = {
    "chebyshev": "Chebyshev",
    "constant": "constant predictor",
    "huber": "Huber",
    "posterior_mean": "posterior mean (floor)",
    "theil_sen": "Theil-Sen",
}


def plot_mse(
    results: StudyResults, split: str, *, metric: str = "mse", ax: Axes | None = None
) -> Figure:
    """A metric (MSE by default) by variant on an evaluation split: seeds, interval, yardsticks, published values.

    With `ax` it is drawn into these axes, without title and notes, and their figure is returned. Raises ValueError for
    a split that the results do not have, and for an unknown metric.
    """
    if ax is None:
        panel = _panel(results, split, metric, width=5.2)
        return _figure(
            f"{results.study.title}: {METRICS[metric].words} by variant on {split}", [panel]
        )
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes that were removed from theirs cannot be drawn into
    extent = ax.get_window_extent()
    panel = _panel(results, split, metric, width=extent.width / figure.dpi)
    draw_panel(ax, panel, extent.height / figure.dpi)
    ax.set_yticks(range(len(panel.summaries)), _labels(panel))
    return figure


def plot_slope_intercept(results: StudyResults, split: str) -> Figure:
    """The squared errors of slope and of intercept by variant, in a panel each. Raises as `plot_mse`."""
    panels = [_panel(results, split, metric, width=3.4) for metric in ("slope", "intercept")]
    return _figure(
        f"{results.study.title}: errors of slope and of intercept by variant on {split}", panels
    )


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


def _panel(results: StudyResults, split_name: str, metric: str, width: float) -> Panel:
    split = results.split(split_name)
    summaries = summarise(split, metric)
    published = published_values(results.study, split_name, metric)
    published = {s.name: published[s.name] for s in summaries if s.name in published}
    known, point = estimators(split, metric), AGGREGATES[METRICS[metric].aggregate].point
    means = {name: point(known[name].scores) for name in split.yardsticks}
    means = {name: mean for name, mean in means.items() if np.isfinite(mean) and mean > 0}
    labels = [
        f"{YARDSTICK_NAMES.get(name, name.replace('_', ' '))} {number(mean)}"
        for name, mean in means.items()
    ]
    widths = [text_inches(label, SMALL) + GAP for label in labels]
    texts = [f"{METRICS[metric].aggregate} [95% CI]", *(summary.value for summary in summaries)]
    spill = GAP + max(text_inches(text, SMALL) for text in texts)
    low, high = _data_limits(summaries, [*means.values(), *published.values()])
    for mean, label_width in zip(means.values(), widths, strict=True):
        # A label that begins here must end before the next panel does.
        room = max(width + spill - label_width, 0.2 * width)
        high = max(high, low * float((mean / low) ** (width / room)))
    positions = [width * np.log(mean / low) / np.log(high / low) for mean in means.values()]
    rows = stack_flags(positions, widths)
    flags = [Flag(*flag) for flag in zip(means, means.values(), labels, rows, strict=True)]
    population = any(known[name].known for name in split.yardsticks)
    return Panel(metric, split, summaries, published, flags, population, (low, high), width, spill)


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
    labels = _labels(first)
    left = GAP + max(text_inches(text) for text in [VARIANT_HEADER, *labels])
    header = max(panel.header for panel in panels)
    height = ROW * max(len(labels), 1)
    with mpl.rc_context(THEME):
        canvas = page(
            left + sum(panel.width + panel.spill + 2 * GAP for panel in panels),
            header + height + FOOTER,
            title=title,
            note=note(first),
            legend=legend(first),
        )
        for panel in panels:
            axes = canvas.axes(left, header, panel.width, height)
            draw_panel(axes, panel, height)
            axes.set_yticks(range(len(labels)), labels if panel is first else [""] * len(labels))
            if panel is first:
                heading(axes, VARIANT_HEADER, "right")
            left += panel.width + panel.spill + 2 * GAP
        return canvas.figure


def _labels(panel: Panel) -> list[str]:
    return [f"{s.name}   {s.n_ok}/{s.n_seeds}" for s in panel.summaries]
