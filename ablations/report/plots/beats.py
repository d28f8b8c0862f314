"""How often one estimator is nearer to the truth than another: a matrix over the best variants and least squares."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablations.comparison.scored import Estimator, estimators
from ablations.records.results import SplitResults, StudyResults
from ablations.report.plots.flags import yardstick_words
from ablations.report.plots.heatmap import STRONGEST
from ablations.report.plots.ranking import ranked
from ablations.report.plots.style import (
    BAND,
    BLUE,
    GAP,
    INK,
    ORANGE,
    SMALL,
    THEME,
    Style,
    hover,
    page,
    shorten,
    text_inches,
    titled,
)
from ablations.report.plots.summary import CONFIDENCE, interval_of, stopping_of
from ablations.statistics import TooFewSeedsError, probability_nearer, share_nearer
from linefit.known_risk import REFERENCE

MOST = 12  # variants: every pair costs time, and more would not be legible
ROOMY = 6  # estimators, up to which intervals stand in the cells
LETTERS = string.ascii_uppercase
CELL = 0.46, 0.3  # inches of a pair
ROOMY_CELL = 0.95, 0.42
LABEL = 4.0  # inches of a name, longer ones are shortened in the middle
HEAD = 0.3


@dataclass(frozen=True)
class Pair:
    """How often an estimator beats another, with the numbers of seeds (0 of one without training) and of images."""

    estimator: str
    against: str
    p_beats: float
    low: float
    high: float
    seeds: int
    seeds_against: int
    images: int

    @property
    def interval(self) -> str:
        """In brackets; empty where seeds are too few for one."""
        return f"[{percent(self.low)}, {percent(self.high)}]" if np.isfinite(self.low) else ""

    @property
    def words(self) -> str:
        """All of it in a line."""
        size = f"{self.seeds} and {self.seeds_against} seeds, {self.images:,} images"
        share = f"{self.p_beats:.1%} {self.interval}".strip()
        return f"{self.estimator} beats {self.against} on {share}; {size}"


@dataclass(frozen=True)
class Beats:
    """Every ordered pair of the drawn estimators, best first."""

    title: str
    split: SplitResults
    names: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def table(self) -> pd.DataFrame:
        """A row a pair."""
        return pd.DataFrame([asdict(pair) for pair in self.pairs])


def beats_of(
    results: StudyResults, split: str, *, known: Mapping[str, Estimator] | None = None
) -> Beats:
    """Of the best variants by MSE and least squares. `known`: the split's `estimators` where they are at hand.

    Raises ValueError for a split that the results do not have.
    """
    data = results.split(split)
    known = known or estimators(data, "mse")
    names = (*ranked(data, known)[:MOST], REFERENCE)
    confidence = stopping_of(data).each(CONFIDENCE)
    rows = [
        row
        for first, second in combinations(names, 2)
        for row in _both(known[first], known[second], confidence)
    ]
    at = {name: i for i, name in enumerate(names)}
    rows.sort(key=lambda pair: (at[pair.estimator], at[pair.against]))
    return Beats(results.study.title, data, names, tuple(rows))


def _both(a: Estimator, b: Estimator, confidence: float) -> Iterator[Pair]:
    """That `a` beats `b`, and that `b` beats `a`, which is what is left."""
    try:
        found = probability_nearer(a.errors, b.errors, confidence=confidence)
        value, low, high = found.value, found.low, found.high
    except TooFewSeedsError:
        value, low, high = share_nearer(a.errors, b.errors), np.nan, np.nan
    images = a.errors.shape[-1]
    yield Pair(a.name, b.name, value, low, high, len(a.ok), len(b.ok), images)
    yield Pair(b.name, a.name, 1 - value, 1 - high, 1 - low, len(b.ok), len(a.ok), images)


def plot_beats(beats: Beats) -> Figure:
    """Rows against columns: the share of images on which a seed of the row's estimator is nearer than one of the
    column's.
    """
    names = beats.names
    roomy = len(names) <= ROOMY
    width, height = ROOMY_CELL if roomy else CELL
    labels = [
        f"{shorten(yardstick_words(name), LABEL)}   {letter}"
        for name, letter in zip(names, LETTERS, strict=False)
    ]
    left = 2 * GAP + max(text_inches(label) for label in labels)
    place = {name: i for i, name in enumerate(names)}
    with mpl.rc_context(THEME):
        canvas = page(
            left + width * len(names),
            HEAD + height * len(names) + 0.12,
            title=titled(beats.title, f"who beats whom on images of {beats.split.name}"),
            note=_note(beats, roomy),
        )
        axes = canvas.axes(left, HEAD, width * len(names), height * len(names))
        for pair in beats.pairs:
            _cell(axes, (place[pair.against], place[pair.estimator]), pair, roomy=roomy)
        for i in range(len(names)):
            axes.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, color=BAND, linewidth=0))
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        axes.set_xticks(range(len(names)), LETTERS[: len(names)])
        axes.set_yticks(range(len(names)), labels)
        for label, name in zip(axes.get_yticklabels(), names, strict=True):
            hover(label, name)
        axes.tick_params(length=0, labeltop=True, labelbottom=False, bottom=False)
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return canvas.figure


def _cell(axes: Axes, at: tuple[int, int], pair: Pair, *, roomy: bool) -> None:
    x, y = at
    value = pair.p_beats
    colour = BLUE if value > 0.5 else ORANGE
    strength = STRONGEST * 2 * abs(value - 0.5)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=strength, linewidth=0))
    weight = "bold" if pair.low > 0.5 or pair.high < 0.5 else "normal"
    style: Style = {"ha": "center", "va": "center", "color": INK}
    drop = 0.17 if roomy and pair.interval else 0.0
    share = axes.text(x, y - drop, percent(value), size=SMALL, weight=weight, **style)
    hover(share, pair.words)
    if drop:
        axes.text(x, y + 0.2, pair.interval, size=SMALL - 1, **style)


def percent(share: float) -> str:
    """`42%`, near the ends with a decimal: `3.4%`."""
    return f"{share:.0%}" if 0.0995 <= share < 0.9005 or share in (0, 1) else f"{share:.1%}"


def _note(beats: Beats, roomy: bool) -> str:
    split = beats.split
    more = len(split.variants) - MOST
    where = "in brackets and in" if roomy else "in"
    return (
        "P(row beats column): the probability that a seed drawn from the row's estimator has a smaller squared error"
        " than one from the column's on an image drawn at random, ties counting half; failed seeds score as the"
        f" constant predictor. Estimated from all seeds on the {len(split.params):,} images of {split.name};"
        f" {interval_of(split)} for new seeds and new images {where} beats_{split.name}.csv, pair by pair, not adjusted"
        " for their number. Bold: the interval leaves 50% out. Blue: the row is nearer more often, orange: the column."
        " It counts images, not how large errors are: who is nearer on most images may have the larger MSE. Best MSE"
        " first, then least squares."
        + (f" Of {len(split.variants):,} variants the {MOST} best are shown." if more > 0 else "")
    )
