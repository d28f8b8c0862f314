"""Legal values of settings and of levels' parameters, read from the type that each is declared with, in one place.

`epochs: Annotated[int, Between(1, 100_000)] = 100` says all that a study file, a command line and a message about a
mistake need. A level with parameters, `{ name = "fourier", bandwidth = 4 }` in a study file, is the text
`fourier(bandwidth=4)` everywhere else.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Value = bool | int | float | str
LEVEL = re.compile(r"(?P<name>.*?)(\((?P<parameters>[^()]*)\))?", re.DOTALL)


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both legal."""

    low: float
    high: float


@dataclass(frozen=True)
class Above:
    """Finite numbers above `low`, which is not legal itself."""

    low: float


@dataclass(frozen=True)
class Legal:
    """The legal values of one setting."""

    kind: type[bool] | type[int] | type[float] | type[str]
    range: Between | Above | None = None
    choices: tuple[Value, ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.kind is bool:
            return "true or false"
        if self.range == Above(0):
            return "a positive number"
        words = {int: "an integer", float: "a number", str: "a text"}[self.kind]
        match self.range:
            case Between(low, high):
                return f"{words} from {spelled(low)} to {spelled(high)}"
            case Above(low):
                return f"{words} above {spelled(low)}"
        return words

    def read(self, value: object) -> Value:
        """A legal value in the one form that keys and names are made of: a learning rate of 1 is one of 1.0.

        Raises ValueError, with the legal values in words, for any other.
        """
        # An integer of a study file may be larger than any float.
        if self.kind is float and type(value) is int and abs(value) <= sys.float_info.max:
            value = float(value)
        if type(value) is not self.kind or not self._holds(value):
            raise ValueError(str(self))
        return value

    def parse(self, text: str) -> Value:
        """The legal value that a text spells. Raises ValueError as `read` does."""
        if self.kind is bool:
            return self.read({"true": True, "false": False}.get(text))
        try:
            return self.read(self.kind(text))
        except ValueError:
            raise ValueError(str(self)) from None

    def _holds(self, value: Any) -> bool:
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        match self.range:
            case Between(low, high):
                return bool(low <= value <= high)
            case Above(low):
                return bool(value > low)
        return True


@dataclass(frozen=True)
class Parameter:
    """A setting with its legal values and what it is where none is given."""

    legal: Legal
    default: Value


def legal_values(hint: object) -> Legal:
    """The legal values that a type declares: bool, int, float, str, Literal[...] or Annotated[int, Between(1, 9)]."""
    if get_origin(hint) is Annotated:
        kind, *metadata = get_args(hint)
        return Legal(kind, next(m for m in metadata if isinstance(m, Between | Above)))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Legal(type(choices[0]), choices=choices)
    assert isinstance(hint, type)
    return Legal(hint)


def settings(declared: type) -> dict[str, Parameter]:
    """Name -> legal values and default, of the fields of a dataclass."""
    hints = get_type_hints(declared, include_extras=True)
    return {name: Parameter(legal_values(hints[name]), getattr(declared, name)) for name in hints}


def level_text(name: str, parameters: Mapping[str, Value], defaults: Mapping[str, Value]) -> str:
    """`fourier(bandwidth=4)`, or the name alone. What is at its default is left out, so that a parameter that is added
    later changes neither the names nor the keys of those that do not use it.
    """
    given = [f"{k}={spelled(x)}" for k, x in sorted(parameters.items()) if x != defaults[k]]
    return f"{name}({','.join(given)})" if given else name


def level_parts(text: str) -> tuple[str, dict[str, str]]:
    """The name of a level and its parameters as texts, for `Legal.parse`: the inverse of `level_text`."""
    match = LEVEL.fullmatch(text)
    if match is None or not match["parameters"]:
        return text, {}
    parts = [part.partition("=") for part in match["parameters"].split(",")]
    return match["name"], {key.strip(): value.strip() for key, _, value in parts}


def spelled(value: Value) -> str:
    """A value as names show it and `Legal.parse` takes it: `4`, `0.001`, `true`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
