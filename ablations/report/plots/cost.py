"""What accuracy costs: errors by training time and by parameters, and the variants that none beats on both."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.scored import Estimator
from ablations.records.results import FloatArray, SplitResults, StudyResults
from ablations.report.plots.style import (
    BLUE,
    INK,
    MUTED,
    SMALL,
    THEME,
    Style,
    log_axis,
    page,
    shorten,
    titled,
)
from ablations.report.plots.summary import interval_of, summarise

HEIGHT, WIDTH = 3.0, 3.9  # inches of a panel
LEFT = 0.65  # inches for the labels of an error axis
FOOTER = 0.5
NAMED = 3  # variants, up to which all have a letter; of more, whose letters might meet, those on a front
WHISKERS = 300  # variants, up to which intervals are drawn
LETTERS = string.ascii_uppercase  # of variants, best first
NAME = 3.5  # inches of a name under the figure, longer ones are shortened in the middle
NEAR = 0.12, 0.14  # inches between points that share a label
COSTS = {"seconds": "training time of a cell (s, median)", "parameters": "parameters"}


def plot_cost(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> Figure:
    """MSE on a split against seconds of training and parameters, a point a variant with its interval.

    The line joins the Pareto front: the variants than which no other is both cheaper and better. `known`: the split's
    `estimators` where they are at hand. Raises ValueError for a split that the results do not have.
    """
    table = cost_data(results, split, known=known)
    names, errors = table["variant"].tolist(), table["mse"].to_numpy()
    ends = table[["low", "high"]].to_numpy()
    shown = np.array(
        [*errors, *np.clip(ends[np.isfinite(ends)], errors.min() / 3, errors.max() * 3)]
    )
    limits = (float(shown.min()) / 1.4, float(shown.max()) * 1.4)
    costs = {cost: table[cost].to_numpy() for cost in COSTS}
    fronts = {cost: pareto_front(values, errors) for cost, values in costs.items()}
    on_a_front = {int(i) for front in fronts.values() for i in front}
    few = len(names) <= NAMED
    named = sorted(range(len(names)) if few else on_a_front, key=lambda i: errors[i])
    letters = dict(zip(named, LETTERS, strict=False))
    with mpl.rc_context(THEME):
        canvas = page(
            2 * (LEFT + WIDTH),
            HEIGHT + FOOTER,
            title=titled(results.study.title, f"MSE on {split} against cost"),
            note=_note(results.split(split), names, letters),
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
            _draw(axes, costs[cost], errors, ends, fronts[cost])
            drawn = {
                letter: (float(costs[cost][j]), float(errors[j]))
                for j, letter in letters.items()
                if (few or j in fronts[cost]) and np.isfinite(costs[cost][j])
            }
            _letters(axes, drawn)
        return canvas.figure


def cost_data(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> pd.DataFrame:
    """A row a variant: `mse`, `low`, `high`, the median `seconds` and `parameters` of its cells, NaN where none has it,
    and whether it is on the front of each.
    """
    summaries = summarise(results.split(split), "mse", known=known)
    names = [summary.name for summary in summaries]
    errors = np.array([summary.scored_mean for summary in summaries])
    table = pd.DataFrame(
        {
            "variant": names,
            "mse": errors,
            "low": [getattr(summary.scored, "low", np.nan) for summary in summaries],
            "high": [getattr(summary.scored, "high", np.nan) for summary in summaries],
        }
    )
    medians = results.cells.groupby("variant")[list(COSTS)].median().reindex(names)
    for cost in COSTS:
        table[cost] = medians[cost].to_numpy(np.float64, na_value=np.nan)
        front = pareto_front(table[cost].to_numpy(), errors)
        table[f"on_front_of_{cost}"] = np.isin(np.arange(len(names)), front)
    return table


def _note(split: SplitResults, names: Sequence[str], letters: Mapping[int, str]) -> str:
    named = "; ".join(f"{letter} {shorten(names[i], NAME, SMALL)}" for i, letter in letters.items())
    whiskers = f" with its {interval_of(split)}" if len(names) <= WHISKERS else ""
    return (
        f"A point is a variant's mean over seeds and the {len(split.params):,} images of {split.name}{whiskers}; "
        "failed seeds count as the constant predictor. The line joins the variants than which no other is both "
        "cheaper and better. "
        + (f"{named}. " if named else "")
        + "Seconds are those of the machine that trained the cells, and of how many it trained at once."
    )


def _letters(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Each beside its point; those of points that lie too close for two are one label."""
    style: Style = {"size": SMALL, "weight": "bold", "color": INK}
    figure = axes.get_figure(root=True)
    assert figure is not None
    near = np.array(NEAR) * figure.dpi
    left = {letter: axes.transData.transform(at) for letter, at in points.items()}
    while left:
        first = next(iter(left))
        together = [x for x, at in left.items() if (np.abs(at - left[first]) < near).all()]
        text = "".join(together)
        axes.annotate(text, points[first], xytext=(5, 3), textcoords="offset points", **style)
        left = {letter: at for letter, at in left.items() if letter not in together}


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
    costs: FloatArray,
    errors: FloatArray,
    ends: FloatArray,
    front: npt.NDArray[np.intp],
) -> None:
    finite = costs[np.isfinite(costs) & (costs > 0)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 1.0)
    pad = max((high / low) ** 0.08, 1.5)
    log_axis(axes, "x", low / pad, high * pad)
    on_front = np.isin(np.arange(len(costs)), front)
    many = len(costs) > WHISKERS
    for chosen, colour in ((~on_front, MUTED), (on_front, BLUE)):
        drawn = chosen & np.isfinite(costs)
        has_interval = drawn & np.isfinite(ends).all(axis=1)
        if not many:
            lines = [
                [(x, y_low), (x, y_high)]
                for x, (y_low, y_high) in zip(costs[has_interval], ends[has_interval], strict=True)
            ]
            axes.add_collection(
                LineCollection(lines, colors=colour, linewidths=1.0, alpha=0.7), autolim=False
            )
        sns.scatterplot(
            x=costs[drawn],
            y=errors[drawn],
            ax=axes,
            color=colour,
            s=12 if many else 24,
            linewidth=0.3,
            zorder=3,
            rasterized=many,
        )
    axes.plot(costs[front], errors[front], color=BLUE, linewidth=1.0, zorder=2)
