"""Figures as they stand in a page: SVG without what a page may hold only once, in colours that follow its reader."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup

from ablations.report.plots.style import (
    BAND,
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    TRACK,
    VERMILION,
)

# The colours of the figures become those of the page, which follow the reader's light or dark mode.
CSS_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    TRACK: "var(--track)",
    GRID: "var(--grid)",
    BAND: "var(--band)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    VERMILION: "var(--vermilion)",
    PURPLE: "var(--purple)",
}
SVG_TITLE = "{http://www.w3.org/2000/svg}title"
SVG_DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"


@dataclass(frozen=True)
class InlineFigure:
    """A figure to stand in the page: its SVG, and what it shows in words for those who cannot see it."""

    name: str
    title: str
    description: str
    svg: Markup


def inline_figure(path: Path) -> InlineFigure:
    """An SVG file of `ablations.report.plots`, made fit to stand in a page with others, in the page's colours."""
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    title = root.findtext(SVG_TITLE, path.stem)
    description = root.findtext(SVG_DESCRIPTION, "")
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<title>.*?</title>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL).replace("xlink:href", "href")
    # Ids are unique in a file only, and a page may hold an id once. Every letter refers to one: they are short.
    mark = f"{zlib.crc32(path.stem.encode()):x}"
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{mark}-", svg)
    for colour, variable in CSS_COLOURS.items():
        svg = svg.replace(colour, variable)
    label = Markup('<svg role="img" aria-label="{}. {}"').format(title, description)
    return InlineFigure(path.stem, title, description, label + Markup(svg.removeprefix("<svg")))
