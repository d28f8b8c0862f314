"""Where estimators fail: their error by the slope and intercept of the line and by how many pixels of it are lit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.comparison.scored import estimators
from ablations.records.results import FloatArray, SplitResults, StudyResults
from ablations.report.plots.style import INK, NETS, SMALL, THEME, log_axis, page

HEIGHT, WIDTH = 2.3, 2.75  # inches of a panel
LEFT, GAP = 0.65, 0.15
FOOTER = 0.5
BINS = 10  # of equally many images each
FEWEST = 5  # images of a bin
MAX_NETS = 4


@dataclass(frozen=True)
class Feature:
    """A property of each image `(M,)` by which errors are shown."""

    label: str
    values: FloatArray


def plot_where(
    results: StudyResults, split: str, pixels: npt.NDArray[np.bool_] | None = None
) -> Figure:
    """MSE by slope, intercept and, given `pixels (M, dim, dim)`, lit pixels: a line an estimator.

    The images are cut into at most ten groups of about equal size by each property; a point is the mean over a group's
    images and all seeds, failed seeds scored as the constant predictor. At most four variants, spread evenly from best
    to worst, beside least squares. Raises ValueError for a split that the results do not have.
    """
    data = results.split(split)
    features = [
        Feature("|slope|", np.abs(data.params[:, 0].astype(np.float64))),
        Feature("intercept (pixels)", data.params[:, 1].astype(np.float64)),
    ]
    if pixels is not None:
        features.append(Feature("lit pixels", pixels.sum(axis=(1, 2)).astype(np.float64)))
    lines = _lines(data)
    curves = [[binned_means(feature.values, errors) for _, errors in lines] for feature in features]
    drawn = np.concatenate([means for panel in curves for _, means in panel])
    drawn = drawn[drawn > 0]
    limits = (float(drawn.min()) / 1.4, float(drawn.max()) * 1.4) if len(drawn) else (0.1, 10.0)
    styles: list[tuple[str, Any]] = [*NETS[: len(lines) - 1], (INK, "solid")]
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + len(features) * WIDTH + (len(features) - 1) * GAP,
            HEIGHT + FOOTER,
            title=f"{results.study.title}: where estimators fail on {split}",
            note="A point is the mean squared error over the images of a group and all seeds, at the group's median. "
            f"The {len(data.params):,} images fall into at most {BINS} groups of about equal size.",
            legend=[
                Line2D([], [], label=name, color=colour, linestyle=dashes)
                for (name, _), (colour, dashes) in zip(lines, styles, strict=True)
            ],
        )
        for i, (feature, panel) in enumerate(zip(features, curves, strict=True)):
            axes = canvas.axes(LEFT + i * (WIDTH + GAP), 0, WIDTH, HEIGHT)
            log_axis(axes, "y", *limits)
            _draw(axes, panel, styles)
            axes.set_xlabel(feature.label)
            axes.set_ylabel("MSE (log scale)" if i == 0 else "")
            axes.tick_params(labelsize=SMALL, labelleft=i == 0)
        return canvas.figure


def binned_means(values: FloatArray, errors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median of `values (M,)` and mean of `errors (M,)` in groups of about equal size, by value.

    Images of one value are in one group, so that there may be fewer than `BINS`.
    """
    groups = min(BINS, max(len(values) // FEWEST, 1))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, groups + 1)[1:-1]))
    group = np.searchsorted(edges, values, side="right")
    present = np.unique(group)
    middle = np.array([np.median(values[group == g]) for g in present])
    return middle, np.array([errors[group == g].mean() for g in present])


def _lines(split: SplitResults) -> list[tuple[str, FloatArray]]:
    """Name and mean error of each image `(M,)` of the estimators shown, least squares last."""
    known = estimators(split, "mse")
    nets = sorted(
        ((v.name, known[v.name].errors.mean(axis=0)) for v in split.variants),
        key=lambda net: float(net[1].mean()),
    )
    if len(nets) > MAX_NETS:
        nets = [nets[round(i)] for i in np.linspace(0, len(nets) - 1, MAX_NETS)]
    return [*nets, ("least squares", known["least_squares"].errors)]


def _draw(
    axes: Axes, panel: Sequence[tuple[FloatArray, FloatArray]], styles: Sequence[tuple[str, Any]]
) -> None:
    for (x, y), (colour, dashes) in zip(panel, styles, strict=True):
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.3, marker="o", markersize=2.5)
