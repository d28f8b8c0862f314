"""All levels of a net's factors with what they are, one row each, read from where they are defined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from linefit.definitions import definition
from linefit.legal import Value, spelled
from linefit.levels import NEUTRAL, OPEN, PADDINGS, PLACEMENTS, REGISTRIES, problems


@dataclass(frozen=True)
class Entry:
    """A level."""

    factor: str
    level: str  # by its name
    parameters: str  # each with its default
    summary: str  # one sentence or more
    origin: str  # where it is defined


def catalogue() -> list[Entry]:
    """Every level that a study may name by a name: the package's own, and those that installed packages bring."""
    return list(_entries())


def _entries() -> Iterator[Entry]:
    for factor, registry in REGISTRIES.items():
        installed = entry_points(group=f"linefit.{factor}") if factor in OPEN else ()
        own = {point.name: point.value for point in installed} | registry
        for name in [*registry, *(name for name in own if name not in registry)]:
            found = definition(own[name])
            parameters = ", ".join(
                f"{parameter}={spelled(declared.default)}"
                for parameter, declared in found.parameters.items()
            )
            yield Entry(factor, name, parameters, found.summary, own[name])
    for factor, words in (("placement", PLACEMENTS), ("padding", PADDINGS)):
        for name, summary in words.items():
            yield Entry(factor, name, "", summary, "linefit.convolutions:Convolutions")


def example(factor: str, level: str) -> dict[str, Value]:
    """A small net that has the level: the lab's third net but for it and for what it does not go with."""
    net: dict[str, Value] = {
        "architecture": "conv2",
        "coordinates": "cartesian",
        "pooling": "max",
        "width": 4,
    }
    # Levels that need others, from the least change on.
    changes: tuple[Mapping[str, Value], ...] = (
        {},
        {"pooling": "none"},
        {"head": "least_squares"},
        NEUTRAL,
    )
    for change in changes:
        levels = {**net, **change, factor: level}
        if not problems(levels):
            return levels
    raise ValueError(f"{factor} {level!r} goes with none of the nets that are tried")
