"""What accuracy costs: errors by training time and by parameters, and the variants that none beats on both."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.records.results import FloatArray, StudyResults
from ablations.report.plots.style import (
    BLUE,
    INK,
    MUTED,
    SMALL,
    THEME,
    Style,
    log_axis,
    page,
)
from ablations.report.plots.summary import Summary, summarise

HEIGHT, WIDTH = 3.0, 3.9  # inches of a panel
LEFT = 0.65  # inches for the labels of an error axis
FOOTER = 0.5
NAMED = 3  # variants, up to which all have a letter; of more, whose letters might meet, those on a front
LETTERS = string.ascii_uppercase  # of variants, best first
COSTS = {"seconds": "training time of a cell (s, median)", "parameters": "parameters"}


def plot_cost(results: StudyResults, split: str) -> Figure:
    """MSE on a split against seconds of training and parameters, a point a variant with its interval.

    The line joins the Pareto front: the variants than which no other is both cheaper and better. Raises ValueError for
    a split that the results do not have.
    """
    summaries = summarise(results.split(split), "mse")
    errors = np.array([summary.scored_mean for summary in summaries])
    ends = [end for s in summaries if s.scored for end in (s.scored.low, s.scored.high)]
    shown = np.array([*errors, *np.clip(ends, errors.min() / 3, errors.max() * 3)])
    limits = (float(shown.min()) / 1.4, float(shown.max()) * 1.4)
    costs = {cost: _costs(results, summaries, cost) for cost in COSTS}
    fronts = {cost: pareto_front(values, errors) for cost, values in costs.items()}
    on_a_front = {int(i) for front in fronts.values() for i in front}
    few = len(summaries) <= NAMED
    named = sorted(range(len(summaries)) if few else on_a_front, key=lambda i: errors[i])
    letters = dict(zip(named, LETTERS, strict=False))
    with mpl.rc_context(THEME):
        canvas = page(
            2 * (LEFT + WIDTH),
            HEIGHT + FOOTER,
            title=f"{results.study.title}: MSE on {split} against cost",
            note=_note(summaries, letters),
            legend=[
                Line2D([], [], label="a variant", color=MUTED, marker="o", linestyle=""),
                Line2D([], [], label="none is cheaper and better", color=BLUE, marker="o"),
            ],
        )
        for i, (cost, label) in enumerate(COSTS.items()):
            axes = canvas.axes(LEFT + i * (LEFT + WIDTH), 0, WIDTH, HEIGHT)
            log_axis(axes, "y", *limits)
            axes.set_xlabel(f"{label}, log scale")
            axes.set_ylabel("MSE (log scale)" if i == 0 else "")
            axes.tick_params(labelsize=SMALL)
            _draw(axes, summaries, costs[cost], errors, fronts[cost])
            for j, letter in letters.items():
                if (few or j in fronts[cost]) and np.isfinite(costs[cost][j]):
                    _letter(axes, letter, (costs[cost][j], errors[j]))
        return canvas.figure


def _costs(results: StudyResults, summaries: Sequence[Summary], cost: str) -> FloatArray:
    """The median of a variant's cells; NaN where none has it."""
    by_variant = results.cells.groupby("variant")[cost].median()
    values: FloatArray = by_variant.reindex([s.name for s in summaries]).to_numpy(
        np.float64, na_value=np.nan
    )
    return values


def _note(summaries: Sequence[Summary], letters: Mapping[int, str]) -> str:
    names = "; ".join(f"{letter} {summaries[i].name}" for i, letter in letters.items())
    return (
        "A point is a variant's mean over seeds and images with its 95% interval; failed seeds count as the constant "
        "predictor. The line joins the variants than which no other is both cheaper and better. "
        + (f"{names}. " if names else "")
        + "Seconds are those of the machine that trained the cells, and of how many it trained at once."
    )


def _letter(axes: Axes, letter: str, at: tuple[float, float]) -> None:
    style: Style = {"size": SMALL, "weight": "bold", "color": INK}
    axes.annotate(letter, at, xytext=(5, 3), textcoords="offset points", **style)


def pareto_front(costs: FloatArray, errors: FloatArray) -> npt.NDArray[np.intp]:
    """Indices, by cost, of those than which no other is as cheap and as good and better in one; NaN is never among."""
    front: list[int] = []
    best = np.inf
    for i in np.lexsort((errors, costs)):
        if np.isfinite(costs[i]) and errors[i] < best:
            front.append(int(i))
            best = errors[i]
    return np.array(front, dtype=np.intp)


def _draw(
    axes: Axes,
    summaries: Sequence[Summary],
    costs: FloatArray,
    errors: FloatArray,
    front: npt.NDArray[np.intp],
) -> None:
    finite = costs[np.isfinite(costs) & (costs > 0)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 1.0)
    pad = max((high / low) ** 0.08, 1.5)
    log_axis(axes, "x", low / pad, high * pad)
    for i, summary in enumerate(summaries):
        colour = BLUE if i in front else MUTED
        if summary.scored is not None:
            ends = [summary.scored.low, summary.scored.high]
            axes.plot([costs[i]] * 2, ends, color=colour, linewidth=1.0, alpha=0.7)
        axes.plot(costs[i], errors[i], color=colour, marker="o", markersize=4.5, linestyle="")
    axes.plot(costs[front], errors[front], color=BLUE, linewidth=1.0, zorder=1)
