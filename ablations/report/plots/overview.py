"""A strip above the rows of a figure: all variants and yardsticks on one axis, and which part of it the rows show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ablations.report.plots.flags import Flag, draw_flag, flags_height
from ablations.report.plots.style import BAND, BLUE, SMALL, log_axis

STRIP = 0.3  # inches
LABELS = 0.3  # inches of its axis' labels
CLEAR = 0.04  # inches between the strip and the lowest label above it


@dataclass(frozen=True)
class Overview:
    """What is drawn; `limits` are those of its axis, `zoom` those of the rows below."""

    flags: Sequence[Flag]
    means: Sequence[float]  # of all variants
    limits: tuple[float, float]
    zoom: tuple[float, float]

    @property
    def top(self) -> float:
        """Inches of the labels above the strip."""
        return CLEAR + flags_height(self.flags)

    @property
    def strip(self) -> float:
        """Its height in inches."""
        return STRIP

    @property
    def height(self) -> float:
        """Inches that everything takes."""
        return self.top + STRIP + LABELS


def draw_overview(axes: Axes, overview: Overview, *, labelled: bool) -> None:
    """Draw into axes that are `overview.strip` inches high."""
    log_axis(axes, "x", *overview.limits)
    axes.set_ylim(0, 1)
    axes.grid(visible=False)
    axes.axvspan(*overview.zoom, color=BAND, linewidth=0, zorder=0)
    for flag in overview.flags:
        draw_flag(axes, flag, STRIP, CLEAR)
    ticks = LineCollection(
        [[(mean, 0.2), (mean, 0.8)] for mean in overview.means],
        colors=BLUE,
        linewidths=1.0,
        alpha=0.7,
        zorder=3,
    )
    axes.add_collection(ticks, autolim=False)
    axes.set_yticks([0.5], ["all, one tick a variant" if labelled else ""])
    axes.tick_params(axis="y", length=0, labelsize=SMALL)
    axes.tick_params(axis="x", labelsize=SMALL)
