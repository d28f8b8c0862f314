"""What the figures share: theme, colours that colour-blind readers can tell apart, layout in inches, and saving.

Nothing here knows about results; the figures are in the modules beside this one.
"""

from __future__ import annotations

import contextlib
import functools
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from ablations.records.files import replacing
from ablations.report.plots.svg import HOVER, finished

# In a page these change with the reader's light or dark mode (`ablations.report.inline`): use no colour besides them.
INK, MUTED, TRACK, GRID, BAND, PAPER = (
    "#1f2328",
    "#5b6470",
    "#b8bfc8",
    "#dde1e6",
    "#f3f5f7",
    "#ffffff",
)
BLUE, ORANGE, GREEN, VERMILION, PURPLE = sns.color_palette("colorblind").as_hex()[:5]

# Colour and dashes of up to four nets: none is told by its colour alone.
NETS: tuple[tuple[str, Any], ...] = (
    (BLUE, (0, (6, 1.5))),
    (VERMILION, (0, (3, 1.2))),
    (GREEN, (0, (6, 1.5, 1, 1.5))),
    (PURPLE, (0, (1.2, 1.2))),
)

# DejaVu Sans is shipped with matplotlib: the same picture on every machine. What it has no glyphs for (Chinese,
# Japanese, Korean, emoji) is drawn by whichever of the others is installed, and as boxes where none is.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans",
    "IPAexGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "Microsoft YaHei",
    "PingFang SC",
    "WenQuanYi Zen Hei",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "Noto Emoji",
    "Symbola",
    "Segoe UI Emoji",
)
INSTALLED = [name for name in FONTS if name in set(fontManager.get_font_names())]
FONT = 8.5  # points
SMALL = 7.5
GAP = 0.08  # inches between axes and text
MARGIN = 0.15  # inches around the page
LINE = 1.45  # line height in units of the font size
NOTE = "note"  # the gid of the text under the body
HINTING = 1.05  # at screen resolution glyphs are moved to whole pixels, and lines of text get so much wider
FEW_TICKS = 5  # on an axis of one of many panels
LEGEND_HANDLE = 0.45  # inches a legend entry takes besides its text

Style = dict[str, Any]  # keyword arguments of a matplotlib artist
FAILED: Style = {"color": VERMILION, "marker": "x", "markersize": 6.5, "markeredgewidth": 1.8}

THEME: Any = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "font.family": INSTALLED,
    "font.size": FONT,
    "axes.labelsize": FONT,
    "axes.titlesize": FONT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.bottom": True,
    "xtick.major.size": 3,
    "xtick.minor.size": 1.5,
    "xtick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "axes.axisbelow": True,
    "text.parse_math": False,  # a title with dollar signs is no formula
    "svg.fonttype": "path",  # glyphs as outlines: labels fit on machines that lack the font
    "svg.hashsalt": "ablations",  # the same ids in every run
}


@contextlib.contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """A glyph that no installed font has is no reason for a warning a figure: it is a box in it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")
        yield


@functools.lru_cache(maxsize=4096)
def text_inches(text: str, size: float = FONT, weight: str = "normal") -> float:
    """Width of a line of text in inches, at any resolution at most."""
    font = FontProperties(family=INSTALLED, weight=weight, size=size)
    canvas: Any = FigureCanvasAgg(Figure(figsize=(0.1, 0.1), dpi=720))
    with without_glyph_warnings():
        width = canvas.get_renderer().get_text_width_height_descent(text, font, ismath=False)[0]
    return HINTING * float(width) / 720


def wrap(text: str, inches: float, size: float = FONT, weight: str = "normal") -> str:
    """`text` broken into lines that are no wider than `inches`."""
    characters = len(text)
    while characters > 8:
        lines = textwrap.wrap(text, characters)
        widest = max(text_inches(line, size, weight) for line in lines)
        if widest <= inches:
            return "\n".join(lines)
        characters = min(characters - 1, int(characters * inches / widest) + 2)
    return text


def shorten(text: str, inches: float, size: float = FONT) -> str:
    """`text` no wider than `inches`: of a longer one the beginning and the end, where names of variants differ."""
    kept = len(text)
    short = text
    while text_inches(short, size) > inches and kept > 2:
        kept -= max(1, int(kept * (1 - inches / text_inches(short, size)) / 2))
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short


@dataclass(frozen=True)
class Page:
    """A figure with a heading above its body of axes and a note below, all placed in inches."""

    figure: Figure
    left: float  # of the body, inches from the figure's left edge
    top: float  # of the body, inches from the figure's top edge

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """New axes, `left` and `top` counted from the body's corner, all in inches."""
        total_width, total_height = self.figure.get_size_inches()
        bottom = total_height - self.top - top - height
        return self.figure.add_axes(
            (
                (self.left + left) / total_width,
                bottom / total_height,
                width / total_width,
                height / total_height,
            )
        )


def page(
    width: float, height: float, *, title: str, note: str, legend: Sequence[Line2D] = ()
) -> Page:
    """An empty page for a body of `width` x `height` inches; the figure is sized around it."""
    title_size = FONT * 1.25
    inner = max(width, 5.0)
    for handle in legend:
        handle.set_label(shorten(str(handle.get_label()), inner - LEGEND_HANDLE))
    title, note = wrap(title, inner, title_size, "bold"), wrap(note, inner, SMALL)
    rows = _legend_rows(legend, inner)
    title_height = (title.count("\n") + 1) * title_size * LINE / 72
    legend_height = len(rows) * (FONT + 5) / 72 + 0.08 if rows else 0.0
    note_height = (note.count("\n") + 1) * SMALL * LINE / 72
    top = MARGIN + title_height + legend_height
    total = np.array([inner + 2 * MARGIN, top + height + note_height + MARGIN])
    figure = Figure(figsize=(total[0], total[1]), dpi=120)
    FigureCanvasAgg(figure)

    def place(y: float) -> tuple[float, float]:
        return MARGIN / total[0], 1 - y / total[1]

    x, y = place(MARGIN)
    figure.suptitle(title, x=x, y=y, ha="left", va="top", size=title_size, weight="bold")
    for i, row in enumerate(rows):
        at = place(MARGIN + title_height + i * (FONT + 5) / 72)
        box = figure.legend(
            handles=row,
            loc="upper left",
            bbox_to_anchor=at,
            ncols=len(row),
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.8,
            handletextpad=0.5,
            columnspacing=1.2,
        )
        figure.add_artist(box)
    x, y = place(top + height)
    figure.text(x, y, note, va="top", size=SMALL, color=MUTED, linespacing=LINE * 0.9, gid=NOTE)
    return Page(figure, MARGIN, top)


def hover(artist: Artist, words: str) -> None:
    """What a reader of the SVG is told while the pointer is on a text or a line."""
    artist.set_gid(f"{HOVER}{words}")


def titled(study: str, what: str) -> str:
    """A figure's title: that of the study, which may be a sentence of its own, and what is drawn of it."""
    if study.endswith(("?", "!", ".")):
        return f"{study} {what[:1].upper()}{what[1:]}"
    return f"{study}: {what}"


def _legend_rows(handles: Sequence[Line2D], width: float) -> list[list[Line2D]]:
    rows: list[list[Line2D]] = []
    used = width
    for handle in handles:
        needs = text_inches(str(handle.get_label())) + LEGEND_HANDLE
        if used + needs > width:
            rows.append([])
            used = 0.0
        rows[-1].append(handle)
        used += needs
    return rows


def log_axis(axes: Axes, which: str, low: float, high: float, *, most: int = 12) -> None:
    """A log axis from `low` to `high` with plain numbers as labels, at most about `most`, more where it is short.

    Where they are `FEW_TICKS` or fewer, as in one of many panels, there are no ticks between them.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 0.8 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(subs=subs, numticks=most))
    if most > FEW_TICKS:
        axis.set_minor_locator(LogLocator(subs=tuple(range(1, 10)), numticks=200))
    else:
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: _plain(x)))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    """`1e-6`, `0.001`, `10`, `1,000`."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}".replace("e-0", "e-")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem.png` and `stem.svg`, the same bytes for the same figure; both carry its title and note as text."""
    notes = [text.get_text() for text in figure.texts if text.get_gid() == NOTE]
    title = " ".join(figure.get_suptitle().split())
    text = {"Title": title, "Description": " ".join(" ".join(notes).split())}
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    with mpl.rc_context(THEME), without_glyph_warnings():
        with replacing(paths[0]) as path:
            figure.savefig(path, dpi=150, metadata=text)
        with replacing(paths[1]) as path:
            figure.savefig(path, metadata={**text, "Date": None})
            path.write_text(finished(path.read_text(encoding="utf-8")), encoding="utf-8")
    return paths
