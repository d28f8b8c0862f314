"""Performance profiles: the share of images with a squared error below t, over all t."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from ablations.comparison.metrics import ErrorArray
from ablations.comparison.scored import Estimator, estimators
from ablations.records.results import SplitResults, StudyResults
from ablations.report.plots.flags import yardstick_words
from ablations.report.plots.ranking import ranked, spread
from ablations.report.plots.style import (
    INK,
    MUTED,
    NETS,
    SMALL,
    THEME,
    Style,
    log_axis,
    page,
    shorten,
    titled,
)
from ablations.report.plots.summary import CONFIDENCE, interval_of, stopping_of
from ablations.statistics import crossed_bootstrap
from ablations.statistics.bootstrap import Resampled, share_below
from ablations.statistics.crossed import MINIMUM_SEEDS
from linefit.known_risk import FLOOR, REFERENCE

WIDTH, HEIGHT = 6.6, 3.4  # inches
LEFT, FOOTER = 0.65, 0.5
LABEL = 3.0  # inches of a name in the legend
BOLD = 4  # variants that have a colour and a band
MOST = 100  # variants that have a line
THRESHOLDS = 48
HIGHEST = 0.995  # quantile of the worst errors where the axis ends
EXACT = (
    1e-6  # where it begins: smaller errors are those of rounding, and many lines are found exactly
)
N_BOOT = 1000
YARDSTICKS: dict[str, Style] = {
    FLOOR: {"color": INK, "linestyle": (0, (1, 1)), "linewidth": 1.5},
    REFERENCE: {"color": INK, "linestyle": "solid", "linewidth": 1.3},
}
SEED = 0  # of the bootstrap: the same figure in every run


@dataclass(frozen=True)
class Profiles:
    """Shares by threshold in `table`; the names of those with a band, and of the other variants."""

    title: str
    split: SplitResults
    bold: tuple[str, ...]
    thin: tuple[str, ...]
    yardsticks: tuple[str, ...]
    table: pd.DataFrame


def profiles_of(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> Profiles:
    """Variants spread evenly from the best to the worst MSE, with bands by the crossed bootstrap, the others without.

    `known`: the split's `estimators` where they are at hand. Raises ValueError for a split that the results do not
    have.
    """
    data = results.split(split)
    known = known or estimators(data, "mse")
    names = spread(ranked(data, known), MOST)
    bold = tuple(spread(names, BOLD))
    thin = tuple(name for name in names if name not in bold)
    yardsticks = tuple(name for name in YARDSTICKS if name in known)
    drawn = (*bold, *thin, *yardsticks)
    thresholds = _thresholds([known[name].errors for name in drawn])
    confidence = stopping_of(data).each(CONFIDENCE)
    bands = _bands({name: known[name].errors for name in bold}, thresholds, confidence)
    tables = []
    for name in drawn:
        errors = np.atleast_2d(known[name].errors)
        band = bands.get(name)
        tables.append(
            pd.DataFrame(
                {
                    "estimator": name,
                    "threshold": thresholds,
                    "share_below": _shares(errors, thresholds),
                    "low": band.low if band else np.nan,
                    "high": band.high if band else np.nan,
                    "seeds": len(known[name].ok),
                    "images": errors.shape[1],
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return Profiles(results.study.title, data, bold, thin, yardsticks, table)


def _thresholds(errors: list[ErrorArray]) -> ErrorArray:
    highest = max(float(np.quantile(e, HIGHEST)) for e in errors)
    found = np.geomspace(EXACT, max(highest, 10 * EXACT), THRESHOLDS)
    return np.array([float(f"{threshold:.6g}") for threshold in found])


def _shares(errors: ErrorArray, thresholds: ErrorArray) -> ErrorArray:
    ordered = np.sort(errors, axis=None)
    return np.searchsorted(ordered, thresholds, side="left") / errors.size


def _bands(
    errors: Mapping[str, ErrorArray], thresholds: ErrorArray, confidence: float
) -> dict[str, Resampled]:
    """Of the variants that have seeds enough."""
    enough = {name: own for name, own in errors.items() if len(own) >= MINIMUM_SEEDS}
    if not enough:
        return {}
    rng = np.random.default_rng(SEED)
    return crossed_bootstrap(enough, share_below(thresholds), N_BOOT, rng, confidence=confidence)


def plot_profiles(profiles: Profiles) -> Figure:
    """A line an estimator: higher and farther to the left is better at every size of error."""
    lines = dict(list(profiles.table.groupby("estimator", sort=False)))
    limits = float(profiles.table["threshold"].min()), float(profiles.table["threshold"].max())
    styles: dict[str, Style] = {
        name: {"color": colour, "linestyle": dashes, "linewidth": 1.5}
        for name, (colour, dashes) in zip(profiles.bold, NETS, strict=False)
    }
    styles |= {name: YARDSTICKS[name] for name in profiles.yardsticks}
    with mpl.rc_context(THEME):
        canvas = page(
            LEFT + WIDTH,
            HEIGHT + FOOTER,
            title=titled(
                profiles.title, f"how many images have which error on {profiles.split.name}"
            ),
            note=_note(profiles),
            legend=_legend(profiles, styles),
        )
        axes = canvas.axes(LEFT, 0, WIDTH, HEIGHT)
        log_axis(axes, "x", *limits)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel(
            "t: squared error, mean of slope (no unit) and intercept (pixels²), log scale"
        )
        axes.set_ylabel("images with a smaller error")
        axes.tick_params(labelsize=SMALL)
        _thin(axes, [lines[name] for name in profiles.thin])
        for name, style in styles.items():
            own = lines[name]
            if np.isfinite(own["low"]).all():
                axes.fill_between(
                    own["threshold"],
                    own["low"],
                    own["high"],
                    color=style["color"],
                    alpha=0.18,
                    linewidth=0,
                )
            axes.plot(own["threshold"], own["share_below"], **style)
        return canvas.figure


def _thin(axes: Axes, tables: list[pd.DataFrame]) -> None:
    segments = [own[["threshold", "share_below"]].to_numpy() for own in tables]
    axes.add_collection(
        LineCollection(segments, colors=MUTED, linewidths=0.6, alpha=0.35, zorder=1), autolim=False
    )


def _legend(profiles: Profiles, styles: Mapping[str, Style]) -> list[Line2D]:
    entries = [
        Line2D([], [], label=shorten(yardstick_words(name), LABEL), **style)
        for name, style in styles.items()
    ]
    if profiles.thin:
        entries.append(Line2D([], [], label="other variants", color=MUTED, linewidth=0.6))
    return entries


def _note(profiles: Profiles) -> str:
    split = profiles.split
    n, drawn = len(split.variants), len(profiles.bold) + len(profiles.thin)
    chosen = (
        f" Of {n:,} variants {len(profiles.bold)} are coloured, evenly from the best to the worst MSE"
        + (
            f", and {drawn - len(profiles.bold)} others drawn thin."
            if n > drawn
            else ", the others thin."
        )
        if profiles.thin
        else ""
    )
    return (
        f"The share of all seeds and the {len(split.params):,} images of {split.name} whose squared error is below t. A"
        " line above another is better at that t; where lines cross, one has fewer large errors and the other more"
        f" small ones. Below 1e-6 errors are those of rounding: the lines of so many images are found"
        f" exactly. Bands are pointwise {interval_of(split)} by the bootstrap that draws seeds and images anew"
        f" (crossed, {N_BOOT:,} draws). Failed seeds score as the constant predictor." + chosen
    )
