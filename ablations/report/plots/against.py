"""A net's error on an image against that of least squares on the same image: a density a variant, on log axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.spelling import number
from ablations.records.results import FloatArray, SplitResults, StudyResults
from ablations.report.plots.beats import percent
from ablations.report.plots.ranking import ranked
from ablations.report.plots.style import (
    BLUE,
    FEW_TICKS,
    INK,
    SMALL,
    THEME,
    hover,
    log_axis,
    page,
    shorten,
    titled,
)
from ablations.report.plots.summary import CONFIDENCE, interval_of, stopping_of
from ablations.statistics import TooFewSeedsError, probability_nearer, share_nearer
from linefit.known_risk import REFERENCE

MOST = 12  # panels
COLUMNS = 4
PANEL = 2.05  # inches
LEFT, GAP, TITLE, FOOTER = 0.7, 0.2, 0.34, 0.5
BINS = 26  # of either axis
ENDS = 0.002, 0.999  # quantiles of drawn errors between which an axis runs
EXACT = 1e-6  # smaller errors are those of rounding: least squares finds many lines exactly
# Shares of all pairs of a seed and an image from which on a bin is drawn so opaque. Opacity of one colour, not a
# palette: it reads on light and on dark paper, and bins stay shapes that need little room.
LEVELS = ((0.0, 0.13), (0.0005, 0.28), (0.002, 0.46), (0.005, 0.68), (0.01, 1.0))
SHARE, BIN = "net nearer", "bin"  # what a row says: on which share of images, or of pairs


@dataclass(frozen=True)
class Against:
    """The densities of the best variants, in `table`: a row a variant's share and a row a bin that is not empty."""

    title: str
    split: SplitResults
    names: tuple[str, ...]
    limits: tuple[
        tuple[float, float], tuple[float, float]
    ]  # of least squares' axis and of the nets'
    exact: float  # share of images on which least squares errs by less than EXACT, in the bins at the left edge
    beyond: float  # share of the nets' errors beyond their axis, in the bins at its ends
    table: pd.DataFrame


def against_of(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> Against:
    """Of the best variants by MSE. `known`: the split's `estimators` where they are at hand.

    Raises ValueError for a split that the results do not have.
    """
    data = results.split(split)
    known = known or estimators(data, "mse")
    names = tuple(ranked(data, known)[:MOST])
    reference = known[REFERENCE].errors
    drawn = [known[name].errors for name in names]
    limits = _limits([reference]), _limits(drawn)
    edges = _edges(limits[0]), _edges(limits[1])
    confidence = stopping_of(data).each(CONFIDENCE)
    rows = [
        row
        for name in names
        for row in (
            _share(known[name], known[REFERENCE], confidence),
            *_bins(name, known[name].errors, reference, edges),
        )
    ]
    exact = float((reference < EXACT).mean())
    low, high = limits[1]
    beyond = float(np.mean([((e < low) | (e > high)).mean() for e in drawn])) if drawn else 0.0
    return Against(results.study.title, data, names, limits, exact, beyond, pd.DataFrame(rows))


def _limits(errors: Sequence[FloatArray]) -> tuple[float, float]:
    ends = [np.quantile(e[e >= EXACT], ENDS) for e in errors if (e >= EXACT).any()]
    if not ends:
        return 0.1, 10.0
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    return float(low), float(max(high, 10 * low))


def _edges(limits: tuple[float, float]) -> FloatArray:
    """Six digits, so that a table of bins stays small and says exactly what was counted."""
    return np.array([float(f"{edge:.6g}") for edge in np.geomspace(*limits, BINS + 1)])


def _share(net: Estimator, reference: Estimator, confidence: float) -> dict[str, object]:
    try:
        found = probability_nearer(net.errors, reference.errors, confidence=confidence)
        value, low, high = found.value, found.low, found.high
    except TooFewSeedsError:
        value, low, high = share_nearer(net.errors, reference.errors), np.nan, np.nan
    size = {"seeds": len(net.ok), "images": net.errors.shape[-1]}
    return {"estimator": net.name, "what": SHARE, "value": value, "low": low, "high": high, **size}


def _bins(
    name: str, errors: FloatArray, reference: FloatArray, edges: tuple[FloatArray, FloatArray]
) -> list[dict[str, object]]:
    """Those of `errors (K, M)` against `reference (M,)` that are not empty, what is beyond the edges in the last."""
    x, y = (
        np.clip(np.searchsorted(own, e, side="right") - 1, 0, BINS - 1)
        for own, e in zip(edges, (reference, errors), strict=True)
    )
    counts = np.bincount((x * BINS + y).ravel(), minlength=BINS**2)
    across, down = edges
    return [
        {
            "estimator": name,
            "what": BIN,
            "value": counts[at] / errors.size,
            "least_squares_from": across[at // BINS],
            "least_squares_to": across[at // BINS + 1],
            "net_from": down[at % BINS],
            "net_to": down[at % BINS + 1],
        }
        for at in np.flatnonzero(counts)
    ]


def plot_against(against: Against) -> Figure:
    """A panel a variant: squared errors of all seeds and images against those of least squares, and the diagonal."""
    n = len(against.names)
    columns = min(COLUMNS, n)
    rows = -(-n // COLUMNS)
    step = TITLE + PANEL + GAP
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + columns * PANEL + (columns - 1) * GAP,
            rows * step - GAP + FOOTER,
            title=titled(
                against.title,
                f"squared errors of nets and of least squares, image by image, on {against.split.name}",
            ),
            note=_note(against),
            legend=_legend(),
        )
        for i, name in enumerate(against.names):
            row, column = divmod(i, columns)
            axes = canvas.axes(LEFT + column * (PANEL + GAP), row * step + TITLE, PANEL, PANEL)
            own = against.table[against.table["estimator"] == name]
            _panel(axes, own, against.limits)
            last = i + columns >= n
            axes.tick_params(labelsize=SMALL, labelleft=column == 0, labelbottom=last)
            axes.set_xlabel("error of least squares" if last else "")
            axes.set_ylabel("error of the net" if column == 0 else "")
        return canvas.figure


def _panel(
    axes: Axes, own: pd.DataFrame, limits: tuple[tuple[float, float], tuple[float, float]]
) -> None:
    for which, ends in zip("xy", limits, strict=True):
        log_axis(axes, which, *ends, most=FEW_TICKS)
    bins = own[own["what"] == BIN]
    levels = np.array([level for level, _ in LEVELS])
    of = np.searchsorted(levels, bins["value"], side="right") - 1
    corners = bins[["least_squares_from", "least_squares_to", "net_from", "net_to"]].to_numpy(
        np.float64
    )
    for level, (_, opacity) in enumerate(LEVELS):
        shape = _shape(corners[of == level])
        axes.add_patch(PathPatch(shape, color=BLUE, alpha=opacity, linewidth=0, zorder=2))
    whole = min(limits[0][0], limits[1][0]), max(limits[0][1], limits[1][1])
    axes.plot(whole, whole, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), zorder=3)
    share = own[own["what"] == SHARE].iloc[0]
    interval = (
        f" [{percent(share['low'])}, {percent(share['high'])}]" if np.isfinite(share["low"]) else ""
    )
    title = axes.set_title(
        f"{shorten(str(share['estimator']), PANEL, SMALL)}\nbetter on {percent(share['value'])}{interval}",
        size=SMALL,
        loc="left",
        pad=3,
    )
    hover(title, str(share["estimator"]))


def _shape(corners: npt.NDArray[np.float64]) -> Path:
    """Rectangles `(N, 4)` of x from, x to, y from, y to as one shape, neighbours above each other joined."""
    joined: list[list[float]] = []
    for left, right, low, high in corners:
        if joined and joined[-1][0] == left and joined[-1][3] == low:
            joined[-1][3] = high
        else:
            joined.append([left, right, low, high])
    vertices = [
        point for a, b, c, d in joined for point in ((a, c), (b, c), (b, d), (a, d), (a, c))
    ]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(joined)
    return Path(np.array(vertices).reshape(-1, 2), codes or None)


def _legend() -> list[Line2D]:
    entries = [
        Line2D([], [], label="equal errors", color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    ]
    bounds = [f"{100 * level:g}%" for level, _ in LEVELS]
    for i, (_, opacity) in enumerate(LEVELS):
        last = i == len(LEVELS) - 1
        label = f"{bounds[i]} and more" if last else f"below {bounds[i + 1]}"
        label = label if i else f"{label} of pairs in a bin"
        style = {"color": BLUE, "alpha": opacity, "markeredgewidth": 0}
        entries.append(Line2D([], [], label=label, marker="s", linestyle="", **style))
    return entries


def _note(against: Against) -> str:
    split = against.split
    low, high = against.limits[1]
    more = len(split.variants) > len(against.names)
    exact = (
        f" Least squares finds the line of {against.exact:.0%} of images exactly (an error below 1e-6): they stand at"
        " the left edge."
        if against.exact
        else ""
    )
    return (
        "Squared errors are means of those of slope (no unit) and intercept (pixels²). Shades: the share of all pairs"
        f" of a seed and one of the {len(split.params):,} images of {split.name} in a bin. Below the line the net is"
        " nearer than least squares. Above a panel: the share of images on which a seed of the net is nearer, ties"
        f" half, with its {interval_of(split)} for new seeds and new images.{exact} Errors of nets below {number(low)}"
        f" and above {number(high)} ({against.beyond:.1%}) stand at the edges, too. Failed seeds score as the constant"
        " predictor."
        + (
            f" Of {len(split.variants):,} variants the {MOST} with the best MSE are drawn."
            if more
            else ""
        )
    )
