"""Where estimators fail: their error by the slope and intercept of the line and by how many pixels of it are lit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.scored import Estimator, estimators
from ablations.records.results import FloatArray, StudyResults
from ablations.report.plots.ranking import ranked, spread
from ablations.report.plots.style import INK, NETS, SMALL, THEME, log_axis, page, titled
from ablations.report.plots.summary import CONFIDENCE, interval_of, stopping_of

HEIGHT, WIDTH = 2.3, 2.75  # inches of a panel
LEFT, GAP = 0.65, 0.15
FOOTER = 0.5
BINS = 10  # of equally many images each
FEWEST = 5  # images of a bin
MAX_NETS = 4
MEAN = AGGREGATES["mean"]
LEAST_SQUARES = "least_squares"


@dataclass(frozen=True)
class Feature:
    """A property of each image `(M,)` by which errors are shown."""

    label: str
    values: FloatArray


def plot_where(
    results: StudyResults,
    split: str,
    pixels: npt.NDArray[np.bool_] | None = None,
    *,
    known: Mapping[str, Estimator] | None = None,
) -> Figure:
    """MSE by slope, intercept and, given `pixels (M, dim, dim)`, lit pixels: a line an estimator.

    The images are cut into at most ten groups of about equal size by each property; a point is the mean over a group's
    images and all seeds, failed seeds scored as the constant predictor. At most four variants, spread evenly from best
    to worst, beside least squares. `known`: the split's `estimators` where they are at hand. Raises ValueError for a
    split that the results do not have.
    """
    data = results.split(split)
    table = where_data(results, split, pixels, known=known)
    names, labels = (list(dict.fromkeys(table[column])) for column in ("estimator", "property"))
    drawn = table.loc[table["mse"] > 0, "mse"]
    limits = (float(drawn.min()) / 1.4, float(drawn.max()) * 1.4) if len(drawn) else (0.1, 10.0)
    styles: list[tuple[str, Any]] = [*NETS[: len(names) - 1], (INK, "solid")]
    n = len(data.variants)
    chosen = (
        f" Of {n:,} variants {len(names) - 1} are drawn, evenly from the best to the worst by MSE."
    )
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + len(labels) * WIDTH + (len(labels) - 1) * GAP,
            HEIGHT + FOOTER,
            title=titled(results.study.title, f"where estimators fail on {split}"),
            note="A point is the mean squared error over all seeds and the images of a group, at the group's median:"
            f" the {len(data.params):,} images of {split} fall into at most {BINS} groups of about equal size. Bars are"
            f" {interval_of(data)} for new seeds and new images of the group (least squares: new images)."
            + (chosen if n > MAX_NETS else ""),
            legend=[
                Line2D([], [], label=words(name), color=colour, linestyle=dashes)
                for name, (colour, dashes) in zip(names, styles, strict=True)
            ],
        )
        for i, label in enumerate(labels):
            axes = canvas.axes(LEFT + i * (WIDTH + GAP), 0, WIDTH, HEIGHT)
            log_axis(axes, "y", *limits)
            panel = table[table["property"] == label]
            for name, (colour, dashes) in zip(names, styles, strict=True):
                _draw(axes, panel[panel["estimator"] == name], colour, dashes)
            axes.set_xlabel(label)
            axes.set_ylabel("MSE (log scale)" if i == 0 else "")
            axes.tick_params(labelsize=SMALL, labelleft=i == 0)
        return canvas.figure


def words(name: str) -> str:
    """An estimator's name in a legend."""
    return LEAST_SQUARES.replace("_", " ") if name == LEAST_SQUARES else name


def where_data(
    results: StudyResults,
    split: str,
    pixels: npt.NDArray[np.bool_] | None = None,
    *,
    known: Mapping[str, Estimator] | None = None,
) -> pd.DataFrame:
    """What `plot_where` draws, a row an estimator, property and group of images."""
    data = results.split(split)
    known = known or estimators(data, "mse")
    features = [
        Feature("|slope|", np.abs(data.params[:, 0].astype(np.float64))),
        Feature("intercept (pixels)", data.params[:, 1].astype(np.float64)),
    ]
    if pixels is not None:
        features.append(Feature("lit pixels", pixels.sum(axis=(1, 2)).astype(np.float64)))
    names = [*spread(ranked(data, known), MAX_NETS), LEAST_SQUARES]
    each = stopping_of(data).each(CONFIDENCE)
    rows = []
    for feature in features:
        group = groups(feature.values)
        for name in names:
            for g in np.unique(group):
                own = known[name].errors[..., group == g]
                interval = MEAN.interval(own, each) if own.shape[-1] >= FEWEST else None
                rows.append(
                    {
                        "estimator": name,
                        "property": feature.label,
                        "images": own.shape[-1],
                        "median_value": float(np.median(feature.values[group == g])),
                        "mse": float(own.mean()),
                        "low": interval.low if interval else np.nan,
                        "high": interval.high if interval else np.nan,
                    }
                )
    return pd.DataFrame(rows)


def groups(values: FloatArray) -> npt.NDArray[np.intp]:
    """Group `(M,)` of each image by `values (M,)`: about equally large, in ascending order.

    Images of one value are in one group, so that there may be fewer than `BINS`.
    """
    wanted = min(BINS, max(len(values) // FEWEST, 1))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, wanted + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _draw(axes: Axes, line: pd.DataFrame, colour: str, dashes: Any) -> None:
    """Means joined by a line, and their intervals as far as the axis goes."""
    x, y = line["median_value"].to_numpy(), line["mse"].to_numpy()
    axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.3, marker="o", markersize=2.5)
    ends = line[["low", "high"]].to_numpy()
    bars = [
        [(at, max(low, axes.get_ylim()[0] / 2)), (at, high)]
        for at, (low, high) in zip(x, ends, strict=True)
        if np.isfinite(low)
    ]
    axes.add_collection(
        LineCollection(bars, colors=colour, linewidths=0.8, alpha=0.5), autolim=False
    )
