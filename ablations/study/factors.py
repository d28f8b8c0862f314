"""The factors of a grid: which there are, their legal levels and the one form in which a level is kept.

A factor of the protocol is a field of `linefit.protocol.Protocol`: what is declared there is all that it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from ablations.study.problems import Problem, nearest
from linefit.definitions import DefinitionError, definition
from linefit.legal import Between, Legal, Parameter, Value, level_text, settings
from linefit.levels import (
    ARCHITECTURES,
    COORDINATES,
    DEFAULTS,
    HEADS,
    PADDINGS,
    PLACEMENTS,
    POOLINGS,
    absolute,
    reference_of,
)
from linefit.protocol import Protocol
from linefit.yardsticks import YARDSTICKS

# What a factor can be set to. A level with parameters is the text `fourier(bandwidth=4)`, see `linefit.legal`.
Level = Value


class LevelError(ValueError):
    """A level that is not legal."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Plain:
    """A factor whose levels are values: numbers, words, true and false."""

    legal: Legal
    default: Level | None = None  # None: a study has to name it

    def read(self, key: str, value: object, folder: Path = Path()) -> Level:  # noqa: ARG002
        """The level that a study file names, in its one form. Raises LevelError."""
        try:
            return self.legal.read(value)
        except ValueError as error:
            choices = [str(choice) for choice in self.legal.choices]
            raise LevelError([Problem(key, value, str(error), nearest(value, choices))]) from None


@dataclass(frozen=True)
class Named:
    """A factor whose levels are the names of a registry, some of them with parameters: keyword-only arguments of the
    registered constructor, each with a default, which say in their types what is legal (`linefit.definitions`).
    """

    registry: Mapping[str, str]  # to references
    default: Level | None = None
    open_as: str | None = None  # the factor, where it takes levels of the user's too

    def read(self, key: str, value: object, folder: Path = Path()) -> Level:
        """The level that a study file in `folder` names, in its one form. Raises LevelError."""
        if not isinstance(value, dict):
            return self._name(key, value, folder)
        name = self._name(f"{key}.name", value.get("name"), folder)
        given = {parameter: x for parameter, x in value.items() if parameter != "name"}
        declared = self.parameters(name, folder)
        problems, read = [], {}
        for parameter, x in given.items():
            if parameter not in declared:
                legal = f"a parameter of {name}: {', '.join(declared) or 'it has none'}"
                problems.append(
                    Problem(f"{key}.{parameter}", None, legal, nearest(parameter, declared))
                )
                continue
            try:
                read[parameter] = declared[parameter].legal.read(x)
            except ValueError as error:
                problems.append(Problem(f"{key}.{parameter}", x, str(error)))
        if problems:
            raise LevelError(problems)
        return level_text(name, read, {p: declared[p].default for p in declared})

    def parameters(self, name: str, folder: Path = Path()) -> Mapping[str, Parameter]:
        """The parameters of a level. Raises ValueError for one that is nowhere."""
        if name in self.registry or self.open_as is None:
            return definition(self.registry[name]).parameters
        return definition(reference_of(self.open_as, absolute(name, folder))).parameters

    def _name(self, key: str, value: object, folder: Path) -> str:
        if isinstance(value, str) and value in self.registry:
            return value
        legal = f"one of {', '.join(self.registry)}"
        hint = nearest(value, self.registry)
        if self.open_as is not None and isinstance(value, str):
            try:
                if ":" in value:
                    check_place(value)
                self.parameters(value, folder)
                return value
            except DefinitionError as error:
                legal, hint = str(error), None
            except ValueError:
                legal += ", or a level of your own as file.py:name"
        raise LevelError([Problem(key, value, legal, hint)])


def check_place(reference: str) -> None:
    """Raises DefinitionError for a file outside of the study's folder: it could not be kept with the results."""
    path = PurePath(reference.rpartition(":")[0])
    if path.suffix == ".py" and (path.is_absolute() or ".." in path.parts):
        raise DefinitionError("a file in the folder of the study, by its path from there")


Factor = Plain | Named

# A factor that is added to these has a default: studies and cells that do not name it are what they were.
NET_FACTORS: dict[str, Factor] = {
    "architecture": Named(ARCHITECTURES, open_as="architecture"),
    "coordinates": Named(COORDINATES, open_as="coordinates"),
    "pooling": Named(POOLINGS, open_as="pooling"),
    "width": Plain(Legal(int, Between(1, 4096))),
    "placement": Plain(Legal(str, choices=tuple(PLACEMENTS)), DEFAULTS["placement"]),
    "head": Named(HEADS, DEFAULTS["head"]),
    "padding": Plain(Legal(str, choices=tuple(PADDINGS)), DEFAULTS["padding"]),
}
PROTOCOL_FACTORS: dict[str, Factor] = {
    name: Plain(setting.legal, setting.default) for name, setting in settings(Protocol).items()
}
FACTORS = NET_FACTORS | PROTOCOL_FACTORS
YARDSTICK = Named(dict.fromkeys(YARDSTICKS, "linefit.yardsticks:YARDSTICKS"), open_as="yardstick")
REQUIRED = tuple(name for name, factor in FACTORS.items() if factor.default is None)


def varying(levels: Iterable[Mapping[str, Level]]) -> Iterator[str]:
    """The factors that are not the same in all combinations of levels, in their order."""
    combinations = list(levels)
    for name in FACTORS:
        # True is 1 and 1.0 is 1 to Python, and neither to a reader.
        if len({(type(c[name]), c[name]) for c in combinations}) > 1:
            yield name
