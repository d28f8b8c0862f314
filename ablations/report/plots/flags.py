"""Lines of estimators without training across an axis, with their labels above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from ablations.report.plots.style import GREEN, INK, MUTED, SMALL

FLAG = SMALL * 1.5 / 72  # inches between the labels of yardsticks

# Colour, line style and width; a yardstick that is not named here is a thin grey line.
YARDSTICK_LINES = {
    "posterior_mean": (GREEN, "solid", 1.5),
    "least_squares": (INK, "solid", 1.3),
    "constant": (INK, "dotted", 1.3),
}
YARDSTICK_NAMES = {
    "chebyshev": "Chebyshev",
    "constant": "constant predictor",
    "huber": "Huber",
    "posterior_mean": "posterior mean (floor)",
    "theil_sen": "Theil-Sen",
}


@dataclass(frozen=True)
class Flag:
    """A yardstick's line and its label."""

    name: str
    value: float  # mean error
    label: str
    row: int  # of the label above the axes, 0 is the lowest


def yardstick_words(name: str) -> str:
    """An estimator without training in a legend; the name of any other as it is."""
    return YARDSTICK_NAMES.get(name, "least squares" if name == "least_squares" else name)


def flags_height(flags: Sequence[Flag]) -> float:
    """Inches that the labels above the axes take."""
    return FLAG * (1.5 + max((flag.row for flag in flags), default=-1))


def draw_line(axes: Axes, name: str, value: float, top: float = 1.0) -> None:
    """A yardstick's line, from the axes' bottom to `top` (1 is that of the axes)."""
    colour, style, width = YARDSTICK_LINES.get(name, (MUTED, "solid", 0.6))
    axes.plot(
        [value] * 2,
        [0, top],
        transform=axes.get_xaxis_transform(),
        color=colour,
        linestyle=style,
        linewidth=width,
        clip_on=False,
        zorder=2,
    )


def draw_flag(axes: Axes, flag: Flag, height: float, clear: float) -> None:
    """A line that rises to its label, the lowest of which is `clear` inches above axes of `height` inches."""
    top = 1 + (clear + (flag.row + 0.5) * FLAG) / height
    draw_line(axes, flag.name, flag.value, top)
    colour = YARDSTICK_LINES.get(flag.name, (MUTED,))[0]
    small_text(
        axes,
        flag.label,
        (flag.value, top),
        (3, 0),
        xycoords=axes.get_xaxis_transform(),
        color=colour,
    )


def small_text(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Small text at a point, `offset` points away from it."""
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", va="center", size=SMALL, **style
    )
