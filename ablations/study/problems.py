"""How a mistake in a user's input is told: where, what was given, what is legal, and the nearest match."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake. `key` may be empty where the whole input is meant, `given` None where nothing was."""

    key: str
    given: object
    legal: str
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.key}: " if self.key else ""
        given = "" if self.given is None else f"{_shown(self.given)} is not legal; "
        hint = f" (did you mean {self.hint!r}?)" if self.hint else ""
        return f"{where}{given}expected {self.legal}{hint}"


def nearest(given: object, legal: Iterable[str]) -> str | None:
    """The legal word most like the given one, or None where none is alike."""
    if not isinstance(given, str):
        return None
    return next(iter(difflib.get_close_matches(given[:100], list(legal), n=1, cutoff=0.6)), None)


def _shown(given: object) -> str:
    """A value as Python writes it, the middle of a long one left out."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = shown.maxlong = 200
    shown.maxlist = shown.maxdict = shown.maxtuple = 10
    try:
        return shown.repr(given)
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "an integer of very many digits"
