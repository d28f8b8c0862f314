"""What is done to an SVG that matplotlib wrote: texts to hover for, and the same picture in less room."""

from __future__ import annotations

import itertools
import re

HOVER = "hover: "  # begins the id of a group that has a text to hover for: the rest of it
GLYPH = re.compile(r'<use xlink:href="#([^"]+)"(?: transform="translate\((\S+) (\S+)\)")?/>')

DECIMALS = re.compile(r"(\.\d\d)\d+")


def finished(svg: str) -> str:
    """The SVG with titles where groups ask for them; letters, paths and indentation take less than half the room."""
    return _short(_titled(svg))


def _shape(path: str) -> str:
    """A path's commands, a line each as matplotlib writes them, with two decimals.

    Level and upright lines are H and V.
    """
    commands = []
    x = y = ""
    for line in DECIMALS.sub(r"\1", path).splitlines():
        command = line.strip()
        letter, *numbers = command.split()
        if letter == "L" and numbers[1] == y:
            command = f"H{numbers[0]}"
        elif letter == "L" and numbers[0] == x:
            command = f"V{numbers[1]}"
        commands.append(command)
        x, y = numbers[-2:] if numbers else ("", "")
    return "\n".join(commands)


def _titled(svg: str) -> str:
    """Groups whose id is a text to hover for get it as their title, and an id as others have."""
    numbers = itertools.count(1)
    return re.sub(
        f'<g id="{HOVER}([^"]*)">',
        lambda found: f'<g id="hover_{next(numbers)}"><title>{found[1]}</title>',
        svg,
    )


def _short(svg: str) -> str:
    """Short names of glyphs and places to a tenth of their unit, a hundredth of the font's size; coordinates of paths
    to a hundredth of a point; no indentation.
    """
    short = {
        name: f"g{i}" for i, name in enumerate(dict.fromkeys(m[1] for m in GLYPH.finditer(svg)))
    }

    def use(found: re.Match[str]) -> str:
        x, y = (round(float(place or 0), 1) for place in found.group(2, 3))
        places = (f' x="{x:g}"' if x else "") + (f' y="{y:g}"' if y else "")
        return f'<use xlink:href="#{short[found[1]]}"{places}/>'

    svg = GLYPH.sub(use, svg)
    svg = re.sub(
        '<path id="([^"]+)"', lambda found: f'<path id="{short.get(found[1], found[1])}"', svg
    )
    svg = re.sub(r' d="([^"]*)"', lambda path: f' d="{_shape(path[1])}"', svg)
    return re.sub(r"\n\s+<", "\n<", svg)
